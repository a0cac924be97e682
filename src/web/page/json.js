// JSON as a tree one can open and close with the keyboard. Long strings are cut, with a button for the rest; what cannot be
// seen is spelt out.

import { el, spell } from "./dom.js";
import { cut, number } from "./text.js";

/** Characters of a string shown at first; and laid out at a time, for a long joined script costs by the square of its length. */
const FIRST = 300;
const PIECE = 1_000;
/** Members of one list or map shown at first. */
const MEMBERS = 200;
/** How deep it is open at first. */
const OPEN = 2;

/** @typedef {[key: string | null, value: unknown]} Member Of a map, or of a list: without a key. */

/** The tree of a value. @param {unknown} value */
export function tree(value) {
    return el("div", { class: "json" }, node(value, null, 0));
}

/** @param {unknown} value @param {string | null} key @param {number} depth @returns {HTMLElement} */
function node(value, key, depth) {
    const name = key === null ? null : [el("span", { class: "key" }, quoted(key)), ": "];
    if (value === null || typeof value !== "object") return el("div", { class: "leaf" }, name, scalar(value));
    /** @type {Member[]} */
    const members = Array.isArray(value) ? value.map((v) => [null, v]) : Object.entries(value);
    const [open, close] = Array.isArray(value) ? "[]" : "{}";
    if (!members.length) return el("div", { class: "leaf" }, name, open + close);
    const count = `${number(members.length)} ${Array.isArray(value) ? "item" : "key"}${members.length === 1 ? "" : "s"}`;
    const inside = el("div", { class: "inside" });
    const box = el("details", {}, el("summary", {}, name, open, el("span", { class: "quiet" }, ` ${count} `), close), inside);
    // What nobody opened is not made: a deep or wide payload costs nothing.
    let made = false;
    const make = (/** @type {number} */ from) => {
        if (made || !box.open) return;
        made = true;
        inside.append(...some(members, 0, from));
    };
    // Who opens one wants to see what is in it, one level further.
    box.addEventListener("toggle", () => make(OPEN - 2));
    if (depth === 0 || (depth < OPEN && members.length <= 50)) {
        box.open = true;
        make(depth);
    }
    return box;
}

/** @param {Member[]} members @param {number} from @param {number} depth */
function some(members, from, depth) {
    const nodes = members.slice(from, from + MEMBERS).map(([key, value]) => node(value, key, depth + 1));
    const left = members.length - from - MEMBERS;
    if (left > 0) {
        const more = el("button", { type: "button", class: "small" }, `Show ${number(Math.min(left, MEMBERS))} more of ${number(left)}`);
        more.addEventListener("click", () => more.replaceWith(...some(members, from + MEMBERS, depth)));
        nodes.push(more);
    }
    return nodes;
}

/** @param {unknown} value */
function scalar(value) {
    if (typeof value !== "string") return el("span", { class: typeof value }, String(value));
    if (value.length <= FIRST) return el("bdi", { class: "string" }, quoted(value));
    const shown = cut(value, FIRST);
    const text = el("bdi", { class: "string" }, quoted(shown).slice(0, -1), "…");
    const all = el("button", { type: "button", class: "small" }, `Show all ${number(value.length)} characters`);
    const box = el("span", {}, text, " ", all);
    all.addEventListener("click", () => box.replaceWith(whole(value)));
    return box;
}

/** All of a long string, in a box that scrolls; in pieces, so that the browser lays out only what is looked at. @param {string} value */
function whole(value) {
    const box = el("div", { class: "string long", tabindex: "0", role: "region", "aria-label": "The whole text" });
    for (let at = 0; at < value.length; ) {
        const piece = cut(value.slice(at), PIECE);
        box.append(el("div", { class: "piece" }, escaped(piece)));
        at += piece.length;
    }
    queueMicrotask(() => box.focus());
    return box;
}

/** @param {string} text */
function escaped(text) {
    return spell(JSON.stringify(text).slice(1, -1));
}

/** @param {string} text */
function quoted(text) {
    return [document.createTextNode('"'), ...escaped(text), document.createTextNode('"')];
}
