// How long something lasts, and how long ago it was. Live shows none of it, so it is not part of the first view.

import { el } from "./dom.js";
import { moment } from "./time.js";

/** 93,000 ms is "1 min 33 s". @param {number} ms */
export function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    /** @type {[number, string][]} */
    const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
    const at = units.findIndex(([size]) => seconds >= size);
    if (at < 0) return "0 s";
    const [size, unit] = units[at];
    const first = `${Math.floor(seconds / size)} ${unit}`;
    const next = units[at + 1];
    const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
    return rest ? `${first} ${rest} ${next[1]}` : first;
}

/** How long ago, or how long until then. `past`: what is said instead of how long ago. @param {When} text @param {string} [past] */
export function ago(text, past = "") {
    const date = moment(text);
    if (!date) return "never";
    const ms = Date.now() - date.getTime();
    return ms < -999 ? `in ${duration(-ms)}` : past || `${duration(ms)} ago`;
}

/** An element that says how long ago; `tick` moves it on. @param {When} text @param {string} [past] */
export function since(text, past = "") {
    const date = moment(text);
    if (!date) return el("span", {}, "never");
    return el("time", { datetime: date.toISOString(), title: date.toISOString(), data: { ago: String(text), past } }, ago(text, past));
}

/** A duration that goes on: it had lasted `ms` when we heard of it. @param {number} ms */
export function lasting(ms) {
    return el("span", { data: { from: String(performance.now() - ms) } }, duration(ms));
}

/** Moves on all that goes on below a node. @param {HTMLElement} root */
export function tick(root) {
    /** @type {(what: string) => NodeListOf<HTMLElement>} */
    const all = (what) => root.querySelectorAll(`[data-${what}]`);
    for (const node of all("ago")) put(node, ago(node.dataset.ago, node.dataset.past));
    for (const node of all("from")) put(node, duration(performance.now() - Number(node.dataset.from)));
}

/** @param {HTMLElement} node @param {string} text */
function put(node, text) {
    if (node.textContent !== text) node.textContent = text;
}
