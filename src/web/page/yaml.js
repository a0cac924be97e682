// A rule and a test from an event, to copy into rules.yaml.

import { codeName, cut, exact } from "./text.js";

/** @typedef {[field: string, value: string, chosen: boolean, always?: boolean]} Field */

/** Words YAML reads as something else than text. */
const NOT_TEXT = /^(?:true|false|yes|no|on|off|null|y|n|~|nan|\.nan|\.inf)$/i;
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** A text as YAML: bare where that is safe in a flow too, else in double quotes. @param {unknown} text */
export function scalar(text) {
    const value = String(text);
    const bare = /^[A-Za-z_][A-Za-z0-9_ .()-]*$/.test(value) && !/\s$/.test(value) && !NOT_TEXT.test(value);
    if (bare) return value;
    const quoted = JSON.stringify(value).replace(UNSAFE, (c) => {
        const hex = codeName(c.codePointAt(0) ?? 0).slice(2);
        return hex.length > 4 ? `\\U${hex.padStart(8, "0")}` : `\\u${hex}`;
    });
    return quoted;
}

/** What ends something opens nothing: only by its type a rule tells of it. @param {Api.EventInFull} event */
const ends = (event) => event.phase === "close" && Boolean(event.type);

/** Why nobody could hear of it were it alone. @type {Set<string | null>} */
const NOT_ALONE = new Set(["below_threshold", "when_failed", "expected", "nothing_open", "rule_removed", "muted", "nobody_to_tell"]);

/**
 * The rules there are that would tell of this event as well, were it the only one: `{rule, after}`, the latter in seconds where
 * their message is known.
 * @param {Api.EventInFull} event
 */
export function alsoTold(event) {
    const began = Date.parse(event.received_at ?? event.at);
    const after = (/** @type {string} */ rule) => {
        const first = (event.messages ?? []).filter((m) => m.rule === rule && m.reason === "first").map((m) => (Date.parse(m.at) - began) / 1000);
        const known = first.find((seconds) => seconds > -2);
        return known === undefined ? null : Math.max(0, known);
    };
    if (NOT_ALONE.has(event.why)) return [];
    return (event.rules ?? []).map((rule) => ({ rule, after: after(rule) })).filter((one) => event.phase !== "close" || one.after !== null);
}

/** What of an event tells it from others: `[field, value, chosen at first, always]`.
 * @param {Api.EventInFull} event @returns {Field[]} */
export function telling(event) {
    const raw = /** @type {Record<string, unknown> | null | undefined} */ (event.raw);
    /** @type {[string, unknown, boolean, boolean?]} */
    const first = event.condition && event.phase !== "close" ? ["condition", event.condition, true] : ["type", event.type, true, ends(event)];
    /** @type {[string, unknown, boolean][]} */
    const rest = [
        ["topic", event.topic, !event.type && !event.condition],
        ["site", event.site, false],
        ["device", event.device ?? event.device_mac, false],
        ["severity", event.severity, false],
        ["reason", raw?.reason, false],
        ["model", event.device ? raw?.model : null, false],
    ];
    const readable = (/** @type {unknown} */ value) => typeof value === "string" && value !== "" && value.length <= 200 && !/[\u0000-\u001f]|^\s|\s$/.test(value);
    return /** @type {Field[]} */ ([first, ...rest].filter(([, value]) => readable(value)));
}

/** What YAML a rule and its test are. `chosen`: the fields to match. @param {Api.EventInFull} event @param {string[]} chosen */
export function ruleAndTest(event, chosen) {
    const fields = telling(event).filter(([field, , , always]) => always || chosen.includes(field));
    const lasts = event.phase === "open" && Boolean(event.condition);
    const name = nameOf(event, fields);
    const rule = [
        "rules:",
        `  - name: ${scalar(name)}`,
        "    match:",
        ...fields.map(([field, value]) => `      ${field}: ${scalar(exact(value))}`),
        ...(lasts ? ["    for: 3m"] : []),
        `    severity: ${["critical", "warning", "info"].includes(event.severity ?? "") ? event.severity : "warning"}`,
    ];
    const sent = [["at", "0s"], ...testFields(event, fields)].map(([k, v]) => `${k}: ${scalarOrTime(k, v)}`).join(", ");
    const [at, seconds] = lasts ? ["3m10s", 190] : ["10s", 10];
    // In the order of their messages; a few seconds are the network's.
    const others = alsoTold(event).filter((one) => one.rule !== name);
    const earlier = others.filter((one) => one.after === null || one.after <= seconds + 5).sort((a, b) => (a.after ?? seconds) - (b.after ?? seconds));
    const expected = (/** @type {{ rule: string }} */ { rule }) => `      - {rule: ${scalar(rule)}, reason: first}`;
    const test = [
        "tests:",
        `  - name: ${scalar(`${name} is told`)}`,
        "    events:",
        `      - {${sent}}`,
        "    expect:",
        ...earlier.map(expected),
        `      - {at: ${at}, rule: ${scalar(name)}, reason: first}`,
        ...others.filter((one) => !earlier.includes(one)).map(expected),
    ];
    return `${[...rule, "", ...test].join("\n")}\n`;
}

/** @param {string} key @param {string} value */
const scalarOrTime = (key, value) => (key === "at" ? value : scalar(value));

/** @param {Api.EventInFull} event @param {Field[]} fields */
function nameOf(event, fields) {
    const what = String(event.condition && event.phase !== "close" ? event.condition : event.type || event.topic || "Event");
    const words = what.replaceAll("_", " ").toLowerCase().replace(/^./, (c) => c.toUpperCase()).replace(/\b(ap|dns|dhcp|arp|vpn|bgp|ospf|rf|sw|gw|me)\b/gi, (w) => w.toUpperCase());
    /** @type {Record<string, string>} */
    const where = { device: "on", site: "at" };
    const places = Object.keys(where).flatMap((key) => fields.filter(([field]) => field === key).map(([, value]) => `${where[key]} ${value}`));
    return cut([words, ...places].join(" "), 80);
}

/** What the test's event needs to be like this one. @param {Api.EventInFull} event @param {Field[]} fields */
function testFields(event, fields) {
    const known = { type: event.type, topic: event.topic, device: event.device ?? event.device_mac, site: event.site };
    /** @type {[string, string][]} */
    const out = [["type", event.type || event.topic]];
    if (fields.some(([f]) => f === "topic") || !event.type) out.push(["topic", event.topic]);
    if (known.device) out.push(["device", known.device]);
    if (known.site) out.push(["site", known.site]);
    for (const [field, value] of fields) {
        if (["severity", "reason", "model"].includes(field)) out.push([field, value]);
    }
    return out.filter(([, value]) => value);
}
