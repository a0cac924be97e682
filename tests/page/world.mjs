// What the mock serves: a small network, made the same way each time.

import { readFileSync } from "node:fs";

/** What the real encoders make of a message, as their own tests hold it. */
function posted(name) {
    const read = (kind) => {
        const text = readFileSync(new URL(`../../src/destination/snapshots/foghorn__destination__tests__${kind}-${name}.snap`, import.meta.url), "utf8");
        return JSON.parse(text.slice(text.indexOf("\n---\n") + 5));
    };
    return ["slack", "teams"].map((kind) => ({ kind, body: read(kind) }));
}

const NOW = Date.now();
const at = (ago) => new Date(NOW - ago).toISOString();
const MIN = 60_000;
const HOUR = 60 * MIN;

const SITES = ["Harbour Office", "Home", "Lab"];
const DEVICES = ["ap-kitchen", "ap-roof", "sw-garage", "ap-lobby-2", "gw-home", "ap-attic"];
const KINDS = [
    ["AP_DISCONNECTED", "device-events", "ap_offline", "open", "told", null, ["AP unreachable"]],
    ["AP_CONNECTED", "device-events", "ap_offline", "close", "told", null, ["AP unreachable"]],
    ["SW_PORT_DOWN", "device-events", "switch_port_down", "open", "pending", null, ["Port down"]],
    ["AP_DISCONNECTED", "device-updowns", "ap_offline", "open", "suppressed", "inhibited", ["AP unreachable"]],
    ["AP_RADAR_DETECTED", "device-events", null, "event", "unmatched", null, []],
    ["device_down", "alarms", "ap_offline", "open", "duplicate", null, []],
    ["dhcp_failure", "alarms", "dhcp_failure", "open", "suppressed", "silenced", ["DHCP fails"]],
    ["AP_RESTARTED", "device-events", null, "event", "unmatched", null, []],
];

/** Event number `n`, the larger the newer. */
export function event(n, time = null) {
    const [type, topic, condition, phase, fate, why, rules] = KINDS[n % KINDS.length];
    const device = DEVICES[n % DEVICES.length];
    const when = time ?? at((5_000 - n) * 7_000);
    return {
        id: `${n}.0`, at: when, received_at: when, topic, type, condition, phase, fate, why, rules,
        severity: phase === "event" ? "info" : "warning",
        site: SITES[n % SITES.length], site_id: `7a1b2c3d-0000-4000-8000-00000000000${n % SITES.length}`,
        device, device_mac: `02ab000000${(16 + (n % DEVICES.length)).toString(16)}`,
        text: n % 3 ? null : "lost the connection to the Mist cloud",
    };
}

export const RLO = "\u202e";
export const ZERO = "\u200b";
export const SCRIPT = '<script>window.hurt = 1</script><img src="https://evil.example/x.png" onerror="window.hurt = 2">';
/** An event that means harm. */
export const EVIL = {
    ...event(4_990),
    id: "666.0",
    type: `AP_${RLO}SSORC${ZERO}X`,
    device: SCRIPT,
    site: "مكتب الميناء",
    text: `${SCRIPT} ${RLO}gpj.exe [x](javascript:alert(1)) ${"A".repeat(20_000)}`,
    rules: ["<b>bold</b>", "AP unreachable"],
    why: "<i>why</i>",
};

const RAW = {
    org_id: "5d0e1c2a-1111-4222-8333-94a5b6c7d8e9", site_id: "7a1b2c3d-4444-4555-8666-0a1b2c3d4e5f", site_name: "Home",
    type: "AP_DISCONNECTED", ap: "02ab00000010", device_name: "ap-kitchen", device_type: "ap", model: "AP45", timestamp: 1750420000,
    reason: "power", empty: {}, none: null, ok: true, details: { firmware: "0.14.29", ports: [{ name: "eth0", speed: 2500 }, { name: "eth1", speed: 0 }] },
};

const MESSAGE = {
    id: "k3f9x2", at: at(20 * MIN), reason: "first", rule: "AP unreachable", incident: "7f3a",
    title: "ap-kitchen is offline", text: "**ap-kitchen** at **Home** lost the connection to the Mist cloud.",
    shown: posted("offline"),
    destinations: [
        { id: "11", name: "slack", state: "delivered", attempts: [{ at: at(20 * MIN), status: "again", http: 503, reply: "busy (HTTP 503)" }, { at: at(19 * MIN), status: "delivered", http: 200, reply: null }] },
        { id: "12", name: "netops", state: "queued", attempts: [] },
    ],
};

/** What the server says of one event. */
export function whole(one) {
    if (one.id === EVIL.id) return { ...one, ...evilWhole() };
    const told = one.fate === "told";
    const resolved = { ...MESSAGE, id: "k3f9x3", reason: "resolved", at: at(5 * MIN), title: "ap-kitchen is back after 15 min", text: "**ap-kitchen** at **Home** is back.", shown: posted("back") };
    const behind = { ...MESSAGE, id: "k3f9x4", at: at(4 * MIN), title: "Switch sw-garage is offline", shown: posted("behind") };
    return {
        ...one, raw: { ...RAW, type: one.type, device_name: one.device },
        decisions: [
            { at: one.at, rule: "AP unreachable", line: 12, file: "the built-in rules", text: "pending until 26 Nov 14:03:10: it must last 3 min first" },
            { at: at(20 * MIN), rule: "AP unreachable", line: 12, text: "notify: first, to slack and netops" },
            { at: one.at, rule: "DHCP fails", line: 40, text: "does not match: `condition` is ap_offline, not dhcp_failure" },
        ],
        messages: told ? [MESSAGE, resolved, behind] : [],
    };
}

function evilWhole() {
    const deep = {};
    let inner = deep;
    for (let i = 0; i < 200; i += 1) inner = inner.x = {};
    return {
        raw: { [SCRIPT]: SCRIPT, rtl: `${RLO}abc مرحبا`, zero: `a${ZERO}b\u0000c\ud800`, big: "x".repeat(1024 * 1024), bigRtl: "م".repeat(400_000), wide: Array.from({ length: 20_000 }, (_, i) => i), deep, reason: `a"b\\${RLO}` },
        decisions: [{ at: at(0), rule: SCRIPT, line: 7, text: SCRIPT + ZERO }],
        messages: [
            { ...MESSAGE, title: SCRIPT, shown: posted("hostile"), destinations: [{ id: "1", name: SCRIPT, state: SCRIPT, attempts: [{ at: at(0), status: SCRIPT, reply: SCRIPT.repeat(50) }] }] },
            { ...MESSAGE, title: SCRIPT, shown: broken(), destinations: [] },
        ],
    };
}

/** What no encoder of ours makes: unknown elements, live marks, links that are none. */
function broken() {
    const text = `${SCRIPT} <javascript:alert(1)|click> <!channel> [click](javascript:alert(1)) *b _i ~s \`${SCRIPT}\` {{DATE(x)}} ${"*_~`".repeat(500)}`;
    const mrkdwn = { type: "mrkdwn", text };
    const shown = {
        slack: { text, attachments: [{ color: "red;background:url(//evil.example)", blocks: [{ type: "section", text: mrkdwn, fields: [mrkdwn, { type: SCRIPT }] }, { type: "image", image_url: "https://evil.example/x.png" }, null] }] },
        teams: { type: "message", attachments: [{ contentType: "text/html", content: SCRIPT }, { contentType: "application/vnd.microsoft.card.adaptive", content: {
            body: [{ type: "TextBlock", text, color: SCRIPT }, { type: "Image", url: "https://evil.example/x.png" }, { type: "Container", style: SCRIPT, items: [{ type: SCRIPT }] }, { type: "FactSet", facts: [{ title: SCRIPT, value: text }] }],
            actions: [{ type: "Action.OpenUrl", title: SCRIPT, url: "javascript:alert(1)" }, { type: "Action.Submit" }],
        } }] },
    };
    return Object.entries(shown).map(([kind, body]) => ({ kind, body }));
}

export function incidents() {
    const mac = (name) => [...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 0xffffff, 7).toString(16).padStart(12, "0");
    const subject = (device, ago, ended) => ({ device, device_mac: mac(device), part: null, starts_at: at(ago), ends_at: ended ? at(ended) : null });
    const waiting = (n) => ({ id: `alert-${n}`, rule: "AP unreachable", severity: "warning", site: "Lab", condition: "ap_offline", type: "AP_DISCONNECTED", devices: 1, started: at((60 + n) * 1_000), duration_ms: (60 + n) * 1_000,
        told: [], state: "pending", why: "its rule waits 3 min before it is told", subjects: [{ ...subject(`ap-lab-${n}`, (60 + n) * 1_000), site: "Lab" }] });
    return {
        total: 11,
        incidents: [
            { id: "i1", rule: "AP unreachable", severity: "warning", site: "Home", started: at(42 * MIN), duration_ms: 42 * MIN, told: ["slack", "netops"], state: "told", why: null, condition: "ap_offline", type: "AP_DISCONNECTED", devices: 3,
                subjects: [subject("ap-kitchen", 42 * MIN), subject("ap-roof", 50 * MIN, 45 * MIN), subject("ap-roof", 41 * MIN), subject("ap-attic", 41 * MIN, 3 * MIN)] },
            { id: "i2", rule: "Switch unreachable", severity: "critical", site: "Harbour Office", started: at(3 * HOUR), duration_ms: 3 * HOUR, told: ["slack"], state: "told", why: null, more: 12, condition: "switch_offline", type: "SW_DISCONNECTED", devices: 27,
                subjects: [{ ...subject("sw-garage", 3 * HOUR), part: "ge-0/0/1" }, ...Array.from({ length: 14 }, (_, i) => subject(`ap-floor-${i + 1}`, 3 * HOUR))] },
            { id: "i3", rule: "DHCP fails", severity: "info", site: "Lab", started: at(50_000), duration_ms: 50_000, told: [], state: "pending", why: "it must last 3 min first", subjects: [] },
            ...[1, 2, 3, 4, 5, 6, 7, 8].map(waiting),
        ],
    };
}

export const SILENCES = [
    { id: "k3f9x2ab", match: { site: "Lab" }, until: at(-2 * HOUR), author: "anna", comment: "moving the racks", created: at(HOUR), matching: 3 },
    { id: "zz81mmq0", match: { condition: "ap_offline", device: ["ap-roof", "ap-attic"] }, until: "resolved", author: "ben", comment: "", created: at(HOUR), matching: 2 },
];

export const DESTINATIONS = {
    destinations: [
        { name: "slack", kind: "slack", queued: 0, oldest: null, last_success: at(2 * MIN), last_error: null, paused_until: null, state: "ok", delivered: 612, digested: 3, dead: 0, discarded: 1 },
        { name: "netops", kind: "teams", queued: 14, oldest: at(18 * MIN), last_success: at(31 * MIN), last_error: { at: at(4 * MIN), why: "the server answered 429: too many requests" }, paused_until: at(-90_000), state: "paused", delivered: 120, digested: 0, dead: 2, discarded: 0 },
        { name: "oncall", kind: "webhook", queued: 2, oldest: at(3 * HOUR), last_success: null, last_error: { at: at(8 * MIN), why: "Slack no longer knows this webhook (no_service): make a new one and set its URL" }, paused_until: null, state: "refuses", delivered: 0, digested: 0, dead: 0, discarded: 0 },
        { name: "old", kind: null, queued: 0, oldest: null, last_success: null, last_error: null, paused_until: null, state: "gone", delivered: 4, digested: 0, dead: 1, discarded: 0 },
    ],
    dead_letters: [
        { id: "31", destination: "netops", title: "**ap-lobby-2** is offline", at: at(80 * HOUR), why: "not delivered within 72 h", attempts: 312, rule: "AP unreachable" },
        { id: "30", destination: "netops", title: "ap-roof is offline", at: at(81 * HOUR), why: "not delivered within 72 h", attempts: 310, rule: "AP unreachable" },
        { id: "12", destination: "old", title: "ap-roof is offline", at: at(90 * HOUR), why: "the flow refused the card", attempts: 2, rule: "AP unreachable" },
    ],
};

export const FEED = {
    sources: [{ name: "mist", last_post: at(4_000), posts_per_minute: 38.5, signature_failures: 0, signed: true }, { name: "lab", last_post: null, posts_per_minute: 0, signature_failures: 12, signed: false }],
    behind: 0,
    totals: { total: 1_204_332, per_second: 0, told: 212, pending: 3, suppressed: { inhibited: 8_000, silenced: 410 }, unmatched: 1_190_007, duplicate: 5_700 },
};

/** `fresh`: all of it came in the last two spans. */
export function noise(since, fresh = false) {
    const count = { "1d": 96, "7d": 168, "30d": 120 }[since] ?? 168;
    const step = ({ "1d": 24, "7d": 168, "30d": 720 }[since] ?? 168) * HOUR / count;
    const wave = (i) => Math.round(120 + 80 * Math.sin(i / 4) + (i % 17 === 0 ? 400 : 0));
    return {
        width_ms: step,
        buckets: Array.from({ length: count }, (_, i) => ({ at: new Date((Math.floor(NOW / step) - count + 1 + i) * step).toISOString(), told: [0, 0, 1, 0, 3, 0, 0, 2, 0, 0, 0, 7][i % 12], quiet: wave(i) })).filter((b, i) => i % 12 !== 1).map((b, i, all) => (fresh && i < all.length - 2 ? { ...b, told: 0, quiet: 0 } : b)),
        rules: [["AP unreachable", 96, 406, 310], ["Switch unreachable", 12, 16, 4], ["Port down", 60, 2_760, 2_700], ["DHCP fails", 8, 40_108, 40_100], ["Rogue AP", 0, 22, 22]]
            .map(([rule, told, events, quiet]) => ({ rule, told, events, quiet })),
        devices_sampled: true,
        devices: Array.from({ length: 26 }, (_, i) => ({ device: DEVICES[i] ?? `ap-floor-${i}`, events: Math.round(9_000 / (i + 1)), told: Math.max(0, 30 - i * 2) })),
    };
}

const PATCH = `--- rules.yaml
+++ rules.yaml
@@ -10,5 +10,5 @@
   - name: Port down
     match: {condition: switch_port_down}
-    for: 30s
+    for: 5m
     notify: [slack]
`;

export const TUNING = {
    since: "7 d", made_at: at(3 * MIN), took_ms: 41_200, from: at(168 * HOUR), until: at(0), cut: true, file: "rules.yaml", messages: 212, after: 41, lost: 1,
    rules: [{ rule: "Port down", line: 10, messages: 160, talkers: [{ name: "sw-garage", messages: 120 }, { name: "sw-roof", messages: 40 }] }, { rule: "DHCP fails", line: 40, messages: 30, talkers: [] }],
    suggestions: [
        { rule: "Port down", line: 12, key: "for", value: "5m", before: 160, after: 8, saved: 152, why: "152 of the 160 it told of were over within 3 min: this removes them; it delays 8 real ones by 4 min 30 s.", quiet: 152, lost: [], lost_count: 0, delayed: 8, longest_delay_ms: 270_000 },
        { rule: "DHCP fails", line: null, key: "cooldown", value: "6h", before: 30, after: 11, saved: 19, why: "19 of the 30 it told of repeat what was told before: counted for the next message.", quiet: 18, lost: ["Lab on Monday"], lost_count: 1, delayed: 0, longest_delay_ms: 0 },
    ],
    helpless: [{ rule: "AP unreachable", messages: 22 }],
    patch: PATCH,
};
