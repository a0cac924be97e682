// Small charts of our own: bars over time, and bars in a table. Each has its numbers beside it, for those who do not see it.

import { el, svg } from "./dom.js";
import { number } from "./text.js";
import { moment } from "./time.js";

const HEIGHT = 120;
const LEFT = 44;
const BOTTOM = 18;

/** A round number at or above it, for the top of an axis. */
export function roof(value) {
    if (value <= 4) return Math.max(1, Math.ceil(value));
    const size = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 4, 5, 8, 10].map((step) => step * size).find((top) => top >= value);
}

/** A chart drawn again for the width it has: letters stay as large as they are. */
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

/** Bars over time. `points`: `[{at, value}]` at equal distances. */
export function bars(points, { label, kind, width }) {
    const top = roof(Math.max(0, ...points.map((p) => p.value)));
    const inner = width - LEFT;
    const each = inner / Math.max(1, points.length);
    const height = HEIGHT - BOTTOM;
    const y = (value) => height - (value / top) * (height - 8);
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
    const ticks = marks(points, Math.max(2, Math.floor(width / 110))).map(([i, text]) =>
        svg("text", { class: "axis", x: LEFT + (i + 0.5) * each, y: HEIGHT - 3, "text-anchor": i < points.length * 0.05 ? "start" : i > points.length * 0.95 ? "end" : "middle" }, text));
    return svg("svg", { class: "chart", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, grid, shapes, ticks);
}

/** Moments to write below an axis, about as many as there is room for. */
function marks(points, room) {
    if (points.length < 2) return points.map((p, i) => [i, when(p.at)]);
    const days = Date.parse(points.at(-1).at) - Date.parse(points[0].at) > 36 * 3_600_000;
    const show = (at) => {
        const date = moment(at);
        if (!date) return "";
        return days ? date.toLocaleDateString(undefined, { day: "numeric", month: "short" }) : date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
    };
    const step = Math.max(1, Math.ceil(points.length / room));
    const found = [];
    for (let i = 0; i < points.length; i += step) {
        const text = show(points[i].at);
        if (found.at(-1)?.[1] !== text) found.push([i, text]);
    }
    return found;
}

export function when(at) {
    const date = moment(at);
    return date ? date.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }) : "?";
}

function compact(value) {
    return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

/** A number with a bar behind it that shows it against the largest. */
export function amount(value, most, kind) {
    const width = most > 0 ? Math.max(value > 0 ? 1 : 0, (value / most) * 100) : 0;
    return el("span", { class: "amount" },
        svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
            svg("rect", { class: "track", width: 100, height: 10 }), svg("rect", { class: kind, width, height: 10 })),
        el("span", {}, number(value)));
}
