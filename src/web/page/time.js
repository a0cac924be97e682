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

/** A moment, or nothing where it does not read. @param {When} text */
export function moment(text) {
    const date = new Date(text ?? NaN);
    return Number.isNaN(date.getTime()) ? null : date;
}

/** The time of day; where it is another day's, that day and no seconds. @param {Date} date */
export function short(date) {
    const today = new Date().toDateString() === date.toDateString();
    return today ? CLOCK.format(date) : `${DAY.format(date)} ${MINUTE.format(date)}`;
}

/** An element with a moment; pointing at it shows all of it. @param {When} text */
export function time(text, { whole = false } = {}) {
    const date = moment(text);
    if (!date) return el("span", {}, "–");
    return el("time", { datetime: date.toISOString(), title: date.toISOString() }, whole ? WHOLE.format(date) : short(date));
}
