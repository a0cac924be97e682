// Small charts of our own: bars over time, and bars in a table. Each has its numbers beside it, for those who do not see it.

import { el, svg } from "./dom.js";
import { number } from "./text.js";
import { moment } from "./time.js";

/** @typedef {{ at: string, value: number }} Point */

const HEIGHT = 120;
const LEFT = 44;
const BOTTOM = 18;

/** A round number at or above it, for the top of an axis. @param {number} value */
export function roof(value) {
    if (value <= 4) return Math.max(1, Math.ceil(value));
    const size = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 4, 5, 8, 10].map((step) => step * size).find((top) => top >= value) ?? value;
}

/** A chart drawn again for the width it has: letters stay as large as they are. @param {(width: number) => Node} draw */
export function fitted(draw) {
    const box = el("div", { class: "fitted" });
    let drawn = 0;
    const fit = () => {
        const width = Math.round(box.clientWidth);
        if (!width || width === drawn) return;
        drawn = width;
        box.replaceChildren(draw(width));
    };
    new ResizeObserver(fit).observe(box);
    return box;
}

/** Bars over time, at equal distances. @param {Point[]} points @param {{ label: string, kind: string, width: number }} look */
export function bars(points, { label, kind, width }) {
    const top = roof(Math.max(0, ...points.map((p) => p.value)));
    const inner = width - LEFT;
    const each = inner / Math.max(1, points.length);
    const height = HEIGHT - BOTTOM;
    const y = (/** @type {number} */ value) => height - (value / top) * (height - 8);
    const grid = [0, top / 2, top].filter((v) => Number.isInteger(v)).map((value) => [
        svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
        svg("text", { class: "axis", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, compact(value)),
    ]);
    const shapes = points.map((point, i) => {
        const h = point.value > 0 ? Math.max(1.5, height - y(point.value)) : 0;
        const gap = each > 6 ? 1.5 : each > 3 ? 0.6 : 0;
        const hover = svg("rect", { class: "hover", x: LEFT + i * each, y: 0, width: each, height });
        const bar = svg("rect", { class: kind, x: LEFT + i * each + gap / 2, y: height - h, width: Math.max(0.6, each - gap), height: h, rx: Math.min(1.5, each / 4) });
        return svg("g", { class: "bar" }, svg("title", {}, `${when(point.at)}: ${number(point.value)}`), hover, bar);
    });
    const ticks = marks(points, Math.max(2, Math.floor(inner / 70))).map(([i, text]) => {
        const x = LEFT + i * each;
        return [svg("line", { class: "tick", x1: x, x2: x, y1: height, y2: height + 4 }),
            svg("text", { class: "axis", x: Math.min(x, width - 6), y: HEIGHT - 2, "text-anchor": x > width - 40 ? "end" : i ? "middle" : "start" }, text)];
    });
    return svg("svg", { class: "chart", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, grid, shapes, ticks);
}

/** Hours between two marks, where days are too long. */
const HOURS = [1, 2, 3, 4, 6, 8, 12];

/**
 * Moments to write below an axis, not more than there is room for: where a day begins, at its first bar, every so many days; or
 * where an hour does. `[index, text]`.
 * @param {Pick<Point, "at">[]} points @param {number} room @returns {[number, string][]}
 */
export function marks(points, room) {
    const dates = points.map((p) => moment(p.at)).filter((date) => date !== null);
    if (dates.length < 2 || dates.length < points.length) return points.slice(0, 1).map((p, i) => [i, when(p.at)]);
    const hours = (Number(dates.at(-1)) - Number(dates[0])) / 3_600_000;
    const day = (/** @type {Date} */ date) => date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
    const hour = (/** @type {Date} */ date) => date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    // By the reader's own days: their number since the first, which a clock that is set does not disturb.
    const midnight = (/** @type {Date} */ date) => new Date(date).setHours(0, 0, 0, 0);
    const days = (/** @type {Date} */ date) => Math.round((midnight(date) - midnight(dates[0])) / 86_400_000);
    if (hours > 36) {
        const every = Math.max(1, Math.ceil(hours / 24 / room));
        return begins(dates, days, (date) => date.getHours() === 0).filter(([, date]) => days(date) % every === 0).map(([i, date]) => [i, day(date)]);
    }
    const every = HOURS.find((step) => hours / step <= room) ?? 24;
    const within = begins(dates, (date) => days(date) * 24 + date.getHours(), (date) => date.getMinutes() === 0);
    return within.filter(([, date]) => date.getHours() % every === 0).map(([i, date]) => [i, date.getHours() ? hour(date) : day(date)]);
}

/** The first of each run of what counts the same. What was cut off and is so short that the next mark would touch it has none.
 * @param {Date[]} dates @param {(date: Date) => number} count @param {(date: Date) => boolean} whole @returns {[number, Date][]} */
function begins(dates, count, whole) {
    /** @type {[number, Date][]} */
    const found = dates.flatMap((date, i) => (i && count(date) === count(dates[i - 1]) ? [] : [[i, date]]));
    return found.length > 1 && !whole(dates[0]) && found[1][0] < dates.length / 20 ? found.slice(1) : found;
}

/** A day and a time of day. @param {When} at */
export function when(at) {
    const date = moment(at);
    return date ? date.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }) : "?";
}

/** @param {number} value */
function compact(value) {
    return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

/** A number with a bar behind it that shows it against the largest. @param {number} value @param {number} most @param {string} kind */
export function amount(value, most, kind) {
    const width = most > 0 ? Math.max(value > 0 ? 1 : 0, (value / most) * 100) : 0;
    return el("span", { class: "amount" },
        svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
            svg("rect", { class: "track", width: 100, height: 10 }), svg("rect", { class: kind, width, height: 10 })),
        el("span", {}, number(value)));
}
