// Noise: what was told and what was kept quiet, over time, by rule and by device.

import { ask } from "./api.js";
import { amount, bars, fitted, when } from "./chart.js";
import { el, foreign, table, trouble } from "./dom.js";
import { number } from "./text.js";

const SPANS = [["1d", "1 day"], ["7d", "7 days"], ["30d", "30 days"]];
const MOST_ROWS = 20;

export function show(root, params, { stream }) {
    const ending = new AbortController();
    stream.follow("");
    const chosen = SPANS.some(([span]) => span === params.get("since")) ? params.get("since") : "7d";
    const spans = el("nav", { class: "spans", "aria-label": "Time span" },
        SPANS.map(([span, text]) => el("a", { href: `#/noise?since=${span}`, "aria-current": span === chosen ? "true" : null }, text)));
    const box = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Counting …"));
    root.append(el("div", { class: "with-button" }, el("h1", {}, "Noise"), spans), box);
    const load = async () => {
        try {
            const said = await ask("noise", { params: new URLSearchParams({ since: chosen }), signal: ending.signal });
            box.replaceChildren(...page(said));
        } catch (error) {
            if (error.name === "AbortError") return;
            box.replaceChildren(trouble(error, load));
        }
        box.setAttribute("aria-busy", "false");
    };
    load();
    return { title: "Noise", leave: () => ending.abort() };
}

function page(said) {
    const buckets = said.buckets ?? [];
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
        byRule(said.rules ?? []),
        byDevice(said.devices ?? []),
    ];
}

const sum = (list, key) => list.reduce((all, one) => all + (one[key] ?? 0), 0);
const most = (list, key) => Math.max(0, ...list.map((one) => one[key] ?? 0));

function chart(name, key, buckets) {
    const total = sum(buckets, key);
    const label = `${name} over time: ${number(total)} in all, at most ${number(most(buckets, key))} at once`;
    const points = buckets.map((b) => ({ at: b.at, value: b[key] ?? 0 }));
    return el("figure", { class: "plot" }, el("figcaption", {}, el("span", { class: `swatch ${key}` }), name),
        fitted((width) => bars(points, { label, kind: key, width })));
}

function byRule(rules) {
    const sorted = [...rules].sort((a, b) => (b.messages ?? 0) - (a.messages ?? 0) || (b.events ?? 0) - (a.events ?? 0));
    const heads = ["Rule", "Messages", "Events", "Kept quiet"];
    const rows = sorted.slice(0, MOST_ROWS).map((r) => [
        el("a", { href: `#/live?${new URLSearchParams({ rule: r.rule })}` }, foreign(r.rule, { max: 80 })),
        amount(r.messages ?? 0, most(rules, "messages"), "told"),
        amount(r.events ?? 0, most(rules, "events"), "all"),
        amount(r.quiet ?? 0, most(rules, "quiet"), "quiet"),
    ]);
    return part("By rule", rules.length, heads, rows);
}

function byDevice(devices) {
    const sorted = [...devices].sort((a, b) => (b.events ?? 0) - (a.events ?? 0));
    const rows = sorted.slice(0, MOST_ROWS).map((d) => [
        el("a", { href: `#/live?${new URLSearchParams({ device: d.device })}` }, foreign(d.device, { max: 80 })),
        amount(d.events ?? 0, most(devices, "events"), "all"),
        amount(d.messages ?? 0, most(devices, "messages"), "told"),
    ]);
    return part("Top talkers", devices.length, ["Device", "Events", "Messages"], rows);
}

function part(name, count, heads, rows) {
    const id = `h-${name.toLowerCase().replaceAll(" ", "-")}`;
    return el("section", { "aria-labelledby": id }, el("h2", { id }, name),
        rows.length ? table(name, heads, rows) : el("p", { class: "quiet" }, "None."),
        count > MOST_ROWS ? el("p", { class: "quiet" }, `The first ${MOST_ROWS} of ${number(count)}.`) : null);
}
