// The one way elements are made. Text goes in as text: there is no door here through which markup could come.

import { asText, codeName, cut, parts } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `props`: `on: {event: listener}`, `data: {…}`, properties that must be set as such (`value`, `checked` …),
 * anything else an attribute; `false`, `null` and `undefined` leave it out. Children: nodes, texts, lists of them.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Props | null} [props] @param {Child[]} children
 */
export function el(tag, props = {}, ...children) {
    return fill(document.createElement(tag), props, children);
}

/** An SVG element. @param {string} tag @param {Props} [props] @param {Child[]} children */
export function svg(tag, props = {}, ...children) {
    return fill(document.createElementNS(SVG, tag), props, children);
}

const AS_PROPERTY = new Set(["value", "checked", "disabled", "open", "hidden", "selected"]);

/** @template {HTMLElement | SVGElement} N @param {N} node @param {Props | null} props @param {Child[]} children */
function fill(node, props, children) {
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === false || value === null || value === undefined) continue;
        if (name === "on") {
            for (const [event, listener] of Object.entries(props?.on ?? {})) node.addEventListener(event, listener);
        } else if (name === "data") {
            Object.assign(node.dataset, value);
        } else if (AS_PROPERTY.has(name)) {
            Reflect.set(node, name, value);
        } else {
            node.setAttribute(name, value === true ? "" : String(value));
        }
    }
    append(node, children);
    return node;
}

/** @param {Element} node @param {Child[]} children */
function append(node, children) {
    for (const child of children) {
        if (child === null || child === undefined || child === false) continue;
        if (Array.isArray(child)) append(node, child);
        else node.append(child instanceof Node ? child : String(child));
    }
}

/** Foreign text: kept to its own direction, what cannot be seen spelt out, cut where it is too long for a line.
 * @param {unknown} value @param {Props & { max?: number, tag?: keyof HTMLElementTagNameMap }} [options] */
export function foreign(value, { max = 200, tag = "bdi", ...props } = {}) {
    const text = asText(value);
    const shown = cut(text, max);
    const node = el(tag, props);
    node.append(...spell(shown));
    if (shown.length < text.length) node.append("…");
    return node;
}

/** The nodes of a foreign text, without an element around them. @param {string} text */
export function spell(text) {
    return parts(text).map((part) => ("text" in part ? document.createTextNode(part.text) : spelt(part)));
}

/** @param {Unseen} part */
function spelt({ code = 0, char, marks }) {
    if (marks) return el("span", { class: "unseen", title: "marks upon the letter before" }, `${marks} marks`);
    const word = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char];
    return el("span", { class: "unseen", title: `a character one cannot see: ${codeName(code)}` }, word ?? codeName(code));
}

/** What the server says in its own words: between backticks stands code; what cannot be seen is spelt out.
 * @param {unknown} said @param {{ max?: number }} [options] */
export function words(said, { max = 600 } = {}) {
    const text = asText(said);
    const shown = cut(text, max);
    const pieces = shown.split("`");
    // One that has no other is just itself.
    if (pieces.length % 2 === 0) pieces.push(`\`${pieces.splice(-1)}`);
    const nodes = pieces.map((piece, i) => (i % 2 && i < pieces.length - 1 ? el("code", {}, spell(piece)) : spell(piece)));
    return el("bdi", {}, nodes, shown.length < text.length ? "…" : null);
}

/** An icon of ours. It is never alone: a word stands beside it. @param {string} name */
export function icon(name) {
    return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ICONS[name] ?? ICONS.dot }));
}

/** @type {Record<string, string>} */
const ICONS = {
    dot: "M8 5.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5z",
    told: "M1.5 6.2h2.2L9.5 2.6v10.8L3.7 9.8H1.5zM11.6 6c.8 1.2.8 2.8 0 4M13.5 4.2c1.8 2.2 1.8 5.4 0 7.6",
    pending: "M4 1.8h8M4 14.2h8M4.8 2v2.6L8 8l3.2-3.4V2M4.8 14v-2.6L8 8l3.2 3.4V14",
    suppressed: "M4.2 11.4h7.6M4.2 11.4c.9-1 1-2 1-4 0-2 1.2-3.2 2.8-3.2M10.6 5.6c.3.6.3 1.2.3 1.8 0 2 .2 3 .9 4M7 13.6c.5.6 1.5.6 2 0M2.2 2.2l11.6 11.6",
    unmatched: "M3 8h10",
    duplicate: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
    pause: "M5.5 3v10M10.5 3v10",
    play: "M4.5 2.8v10.4L13 8z",
    fine: "M3 8.5l3.2 3.2L13 4.8",
    bad: "M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.6v.3",
    off: "M4 4l8 8M12 4l-8 8",
    look: "M1.5 8C3 5 5.3 3.5 8 3.5S13 5 14.5 8c-1.5 3-3.8 4.5-6.5 4.5S3 11 1.5 8zM8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
    wait: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM8 4.5V8l2.5 1.6",
    site: "M8 14.2C5 11 3.5 8.7 3.5 6.5a4.5 4.5 0 0 1 9 0c0 2.2-1.5 4.5-4.5 7.7zM8 5v3",
};

/** An element of index.html. @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Tells people who do not see the page what just happened. @param {string} text */
export function say(text) {
    byId("said").textContent = text;
}

/** What went wrong, with what to do, and a button to try again. @param {unknown} error @param {() => void} [again] */
export function trouble(error, again) {
    const { message, help } = /** @type {{ message?: string, help?: string }} */ (error);
    return el(
        "div",
        { class: "trouble", role: "alert" },
        icon("bad"),
        el("p", {}, el("strong", {}, words(sentence(message || "something went wrong"))), help ? [" (", words(help), ")"] : null),
        again ? el("button", { type: "button", class: "small", on: { click: again } }, "Try again") : null,
    );
}

/** What the server says begins small, as in a terminal. @param {string} text */
export function sentence(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}
