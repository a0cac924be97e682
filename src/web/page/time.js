// Times as people read them: in their own zone, with the exact moment at hand.

import { el } from "./dom.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** The zone of the clocks here, as people call it. */
export function zone() {
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "this browser's zone";
    const part = new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset" }).formatToParts().find(({ type }) => type === "timeZoneName");
    const offset = part?.value.replace("GMT", "UTC") ?? "";
    return name === "UTC" || !offset ? name : `${name} (${offset})`;
}

/** A moment, or nothing where it does not read. */
export function moment(text) {
    const date = new Date(text ?? NaN);
    return Number.isNaN(date.getTime()) ? null : date;
}

/** The time of day; where it is another day's, that day and no seconds. */
export function short(date) {
    const today = new Date().toDateString() === date.toDateString();
    return today ? CLOCK.format(date) : `${DAY.format(date)} ${MINUTE.format(date)}`;
}

/** An element with a moment; pointing at it shows all of it. */
export function time(text, { whole = false } = {}) {
    const date = moment(text);
    if (!date) return el("span", {}, "–");
    return el("time", { datetime: date.toISOString(), title: date.toISOString() }, whole ? WHOLE.format(date) : short(date));
}

/** 93,000 ms is "1 min 33 s". */
export function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
    const at = units.findIndex(([size]) => seconds >= size);
    if (at < 0) return "0 s";
    const [size, unit] = units[at];
    const first = `${Math.floor(seconds / size)} ${unit}`;
    const next = units[at + 1];
    const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
    return rest ? `${first} ${rest} ${next[1]}` : first;
}

/** How long ago, or how long until then. `past`: what is said instead of how long ago. */
export function ago(text, past = "") {
    const date = moment(text);
    if (!date) return "never";
    const ms = Date.now() - date.getTime();
    return ms < -999 ? `in ${duration(-ms)}` : past || `${duration(ms)} ago`;
}

/** An element that says how long ago; `tick` moves it on. */
export function since(text, past = "") {
    const date = moment(text);
    if (!date) return el("span", {}, "never");
    return el("time", { datetime: date.toISOString(), title: date.toISOString(), data: { ago: text, past } }, ago(text, past));
}

/** A duration that goes on: it had lasted `ms` when we heard of it. */
export function lasting(ms) {
    const node = el("span", { data: { from: String(performance.now() - ms) } }, duration(ms));
    return node;
}

/** Moves on all that goes on below a node. */
export function tick(root) {
    for (const node of root.querySelectorAll("[data-ago]")) put(node, ago(node.dataset.ago, node.dataset.past));
    for (const node of root.querySelectorAll("[data-from]")) put(node, duration(performance.now() - Number(node.dataset.from)));
}

function put(node, text) {
    if (node.textContent !== text) node.textContent = text;
}
