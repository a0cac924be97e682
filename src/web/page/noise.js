// Noise: what was told and what was kept quiet, over time, by rule and by device.

import { aborted, ask } from "./api.js";
import { amount, bars, fitted, when } from "./chart.js";
import { el, foreign, trouble } from "./dom.js";
import { table } from "./pieces.js";
import { number } from "./text.js";
import { tuning } from "./tune.js";

const SPANS = [["1d", "1 day"], ["7d", "7 days"], ["30d", "30 days"]];
const MOST_ROWS = 20;
const FEWEST = 24;

/** @typedef {Api.Answer<"GET", "noise">} Noise */

/** @type {Show} */
export function show(root, params) {
    const ending = new AbortController();
    const chosen = SPANS.map(([span]) => span).find((span) => span === params.get("since")) ?? "7d";
    const spans = el("nav", { class: "spans", "aria-label": "Time span" },
        SPANS.map(([span, text]) => el("a", { href: `#/noise?since=${span}`, "aria-current": span === chosen ? "true" : null }, text)));
    const box = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Counting …"));
    root.append(el("div", { class: "with-button" }, el("h1", {}, "Noise"), spans), box, tuning(chosen, ending.signal));
    const load = async () => {
        try {
            const said = await ask("noise", { params: new URLSearchParams({ since: chosen }), signal: ending.signal });
            box.replaceChildren(...page(said).filter((node) => node !== null));
        } catch (error) {
            if (aborted(error)) return;
            box.replaceChildren(trouble(error, load));
        }
        box.setAttribute("aria-busy", "false");
    };
    load();
    return { title: "Noise", leave: () => ending.abort() };
}

/** @param {Noise} said */
function page(said) {
    const all = whole(said.buckets ?? [], said.width_ms);
    const buckets = begun(all);
    const told = sum(buckets, "told");
    const quiet = sum(buckets, "quiet");
    if (!told && !quiet) return [el("p", { class: "empty" }, "Nothing came in this time.")];
    const share = told + quiet ? (quiet / (told + quiet)) * 100 : 0;
    return [
        el("p", { class: "lead" }, el("strong", {}, number(told)), " told, ", el("strong", {}, number(quiet)), " kept quiet",
            el("span", { class: "quiet" }, ` (${share.toFixed(share > 99 && share < 100 ? 2 : 0)} %)`)),
        chart("Told", "told", buckets),
        chart("Kept quiet", "quiet", buckets),
        el("details", {}, el("summary", {}, "The same as a table"),
            table("Told and kept quiet over time", ["From", { name: "Told", right: true }, { name: "Kept quiet", right: true }],
                buckets.map((b) => [when(b.at), number(b.told ?? 0), number(b.quiet ?? 0)]))),
        el("p", { class: "quiet" }, "Counted in events: one message may tell of many.",
            buckets.length < all.length ? ` Nothing came before ${when(buckets.find((b) => b.told || b.quiet)?.at)}.` : null),
        byRule(said.rules ?? []),
        byDevice(said.devices ?? []),
        said.devices_sampled ? el("p", { class: "quiet" }, "There were very many events: the talkers are of the newest",
            said.devices_events ? ` ${number(said.devices_events)}` : " of them", said.devices_since ? `, since ${when(said.devices_since)}` : null, ".") : null,
    ];
}

/** With a bucket for each span in which nothing came, so that equal distances are equal times. @param {Noise["buckets"]} buckets @param {number} width */
function whole(buckets, width) {
    if (!width || buckets.length < 2) return buckets;
    const known = new Map(buckets.map((b) => [Math.round(Date.parse(b.at) / width), b]));
    const [first, last] = [Math.min(...known.keys()), Math.max(...known.keys())];
    if (last - first > 2_000) return buckets;
    return Array.from({ length: last - first + 1 }, (_, i) =>
        known.get(first + i) ?? { at: new Date((first + i) * width).toISOString(), told: 0, quiet: 0 });
}

/** From where something came at first on, but not so few that they say nothing. @param {Noise["buckets"]} buckets */
function begun(buckets) {
    const first = buckets.findIndex((b) => b.told || b.quiet);
    return first > buckets.length / 4 ? buckets.slice(Math.min(first, Math.max(0, buckets.length - FEWEST))) : buckets;
}

/** @type {<K extends string>(list: Partial<Record<K, number>>[], key: K) => number} */
const sum = (list, key) => list.reduce((all, one) => all + (one[key] ?? 0), 0);
/** @type {<K extends string>(list: Partial<Record<K, number>>[], key: K) => number} */
const most = (list, key) => Math.max(0, ...list.map((one) => one[key] ?? 0));

/** @param {string} name @param {"told" | "quiet"} key @param {Noise["buckets"]} buckets */
function chart(name, key, buckets) {
    const total = sum(buckets, key);
    const label = `${name} over time: ${number(total)} in all, at most ${number(most(buckets, key))} at once`;
    const points = buckets.map((b) => ({ at: b.at, value: b[key] ?? 0 }));
    return el("figure", { class: "plot" }, el("figcaption", {}, el("span", { class: `swatch ${key}` }), name),
        fitted((width) => bars(points, { label, kind: key, width })));
}

/** @param {Noise["rules"]} rules */
function byRule(rules) {
    const sorted = [...rules].sort((a, b) => (b.told ?? 0) - (a.told ?? 0) || (b.events ?? 0) - (a.events ?? 0));
    const heads = ["Rule", "Told", "Kept quiet", "Events"];
    const rows = sorted.slice(0, MOST_ROWS).map((r) => [
        el("a", { href: `#/live?${new URLSearchParams({ rule: r.rule })}` }, foreign(r.rule, { max: 80 })),
        amount(r.told ?? 0, most(rules, "told"), "told"),
        amount(r.quiet ?? 0, most(rules, "quiet"), "quiet"),
        amount(r.events ?? 0, most(rules, "events"), "all"),
    ]);
    return part("By rule", rules.length, heads, rows);
}

/** @param {Noise["devices"]} devices */
function byDevice(devices) {
    const sorted = [...devices].sort((a, b) => (b.events ?? 0) - (a.events ?? 0));
    const rows = sorted.slice(0, MOST_ROWS).map((d) => [
        el("a", { href: `#/live?${new URLSearchParams({ device: d.device })}` }, foreign(d.device, { max: 80 })),
        amount(d.events ?? 0, most(devices, "events"), "all"),
        amount(d.told ?? 0, most(devices, "told"), "told"),
    ]);
    return part("Top talkers", devices.length, ["Device", "Events", "Told"], rows);
}

/** @param {string} name @param {number} count @param {string[]} heads @param {Child[][]} rows */
function part(name, count, heads, rows) {
    const id = `h-${name.toLowerCase().replaceAll(" ", "-")}`;
    return el("section", { "aria-labelledby": id }, el("h2", { id }, name),
        rows.length ? table(name, heads, rows, { stack: true }) : el("p", { class: "quiet" }, "None."),
        count > MOST_ROWS ? el("p", { class: "quiet" }, `The first ${MOST_ROWS} of ${number(count)}.`) : null);
}
