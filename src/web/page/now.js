// Now: what lasts, who is affected, what is silenced, how the destinations and the feed do.

import { act } from "./acts.js";
import { aborted, ask, me } from "./api.js";
import { el, foreign, icon, spell, trouble, words } from "./dom.js";
import { lasting, since, tick } from "./elapsed.js";
import { severity } from "./fates.js";
import { plain } from "./markup.js";
import { fact, table } from "./pieces.js";
import { silences } from "./silences.js";
import { asText, exact, number, plural } from "./text.js";
import { time } from "./time.js";

/** How often it looks by itself; the stream says when something changed. */
const EVERY_MS = 15_000;
/** Subjects of an incident shown at first. */
const SUBJECTS = 6;

/**
 * @typedef {Api.Incident & { times?: number, beyond?: number }} Card An incident, or several in one card: `beyond` devices are not listed.
 * @typedef {Api.Incident["subjects"][number]} Subject
 * @typedef {{ count?: number, nodes: Child[] }} Drawn
 */

/** @type {Show} */
export function show(root, params, { stream }) {
    const ending = new AbortController();
    const { signal } = ending;
    const quiet = silences({ signal });
    const parts = [
        section("incidents", "Open incidents", incidents, signal),
        { node: quiet.node, load: quiet.load },
        section("destinations", "Destinations", destinations, signal),
        section("feed", "The feed", feed, signal),
    ];
    root.append(el("h1", {}, "Now"), el("div", { class: "now" }, parts.map((part) => part.node)));
    root.addEventListener("silence", (event) => quiet.offer(/** @type {CustomEvent} */ (event).detail), { signal });
    const load = () => parts.forEach((part) => part.load());
    let soon = 0;
    stream.addEventListener("state", () => { clearTimeout(soon); soon = setTimeout(load, 300); }, { signal });
    const often = setInterval(() => document.hidden || load(), EVERY_MS);
    const second = setInterval(() => tick(root), 1000);
    signal.addEventListener("abort", () => { clearTimeout(soon); clearInterval(often); clearInterval(second); });
    load();
    return { title: "Now", leave: () => ending.abort() };
}

/** A part that loads by itself, and stays as it was while it does. Nothing is replaced under someone's keyboard.
 * @template {"incidents" | "destinations" | "feed"} P
 * @param {P} path @param {string} name @param {(answer: Api.Answer<"GET", P>, again: () => void) => Drawn} draw @param {AbortSignal} signal */
function section(path, name, draw, signal) {
    const count = el("span", { class: "count" });
    const body = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Looking …"));
    const node = el("section", { "aria-labelledby": `h-${path}`, class: path }, el("h2", { id: `h-${path}` }, name, " ", count), body);
    let shown = "";
    const load = async () => {
        try {
            const said = await ask(path, { signal });
            const text = JSON.stringify(said, (key, value) => (key === "duration_ms" ? undefined : value));
            if (text === shown) return;
            if (body.contains(document.activeElement) && shown) return;
            const drawn = draw(said, () => { shown = ""; load(); });
            body.replaceChildren(...el("div", {}, drawn.nodes).childNodes);
            count.textContent = drawn.count === undefined ? "" : number(drawn.count);
            shown = text;
        } catch (error) {
            if (aborted(error)) return;
            shown = "";
            body.replaceChildren(trouble(error, load));
        }
        body.setAttribute("aria-busy", "false");
    };
    return { node, load };
}

/** @type {Record<string, [icon: string, word: string]>} */
const STATES = {
    told: ["told", "told"],
    pending: ["wait", "pending: not told yet"],
    held: ["pause", "held back"],
    flapping: ["dot", "flapping"],
};

/** @param {Api.Answer<"GET", "incidents">} list @returns {Drawn} */
function incidents(list) {
    const all = list.incidents ?? [];
    const full = followed(list.alerts);
    if (!all.length) return { count: 0, nodes: [full, allWell("Nothing is open.")] };
    const total = list.total ?? all.length;
    const cards = together(all).map(incident);
    const rest = total > all.length && el("p", { class: "quiet" }, `The ${number(all.length)} youngest of ${number(total)}.`);
    return { count: total, nodes: [full, el("ul", { class: "cards" }, cards), rest] };
}

/** How full it is, where that is worth a line: from four fifths of what is followed at once on. @param {Api.Answer<"GET", "incidents">["alerts"]} alerts */
function followed(alerts) {
    if (!alerts?.limit || alerts.open * 5 < alerts.limit * 4) return null;
    const held = (alerts.rules ?? []).map(({ rule, open }) => [foreign(rule, { tag: "b" }), ` holds ${number(open)}`]);
    const more = alerts.full_since ? `; ${plural(alerts.passed_on, "event")} sent without being followed` : "";
    const listed = held.flatMap((one, n) => [n ? ", " : ": ", ...one]);
    return el("p", { class: "full", role: "status" }, `${number(alerts.open)} of ${number(alerts.limit)} alerts are open`, listed, more, ".");
}

/** @param {string} text */
function allWell(text) {
    return el("p", { class: "well" }, icon("fine"), text);
}

/** What is not told yet has no incident to be in: all of one rule and site that wait for the same are one card.
 * @param {Api.Incident[]} all @returns {Card[]} */
function together(all) {
    /** @type {Map<unknown, Api.Incident[]>} */
    const cards = new Map();
    for (const one of all) {
        const waits = ["pending", "held"].includes(one.state) && !one.told?.length;
        const key = waits ? JSON.stringify([one.rule, one.site, one.severity, one.state, one.why, one.condition]) : one;
        cards.set(key, [...(cards.get(key) ?? []), one]);
    }
    return [...cards.values()].map((some) => (some.length === 1 ? some[0] : {
        ...some[0],
        started: some.map((one) => one.started).sort()[0],
        duration_ms: Math.max(...some.map((one) => one.duration_ms ?? 0)),
        subjects: some.flatMap((one) => one.subjects ?? []),
        more: some.reduce((sum, one) => sum + (one.more ?? 0), 0),
        beyond: some.reduce((sum, one) => sum + beyond(one), 0),
    }));
}

/** How many devices it concerns beyond those that are listed. @param {Api.Incident} one */
function beyond(one) {
    const listed = new Set((one.subjects ?? []).map(who).filter(Boolean)).size;
    return Number.isFinite(one.devices) ? Math.max(0, one.devices - listed) : (one.more ?? 0);
}

/** @param {Subject} subject */
const who = (subject) => subject.device_mac ?? subject.device ?? null;

/** Each device, or part of one, once: as it is now, with how often it was there.
 * @param {Subject[]} subjects */
function distinct(subjects) {
    /** @type {Map<string, Subject & { times: number }>} */
    const found = new Map();
    for (const one of subjects) {
        const key = JSON.stringify([who(one), one.part ?? null, who(one) ? null : one.site]);
        const known = found.get(key);
        const newer = !known || (!one.ends_at && known.ends_at) || (Boolean(one.ends_at) === Boolean(known.ends_at) && String(one.starts_at) > String(known.starts_at));
        found.set(key, { ...(newer ? one : known), times: (known?.times ?? 0) + 1 });
    }
    return [...found.values()];
}

/** How many devices, and how many of them it still concerns. @param {Subject[]} subjects @param {number} more */
function affected(subjects, more) {
    const all = new Set(subjects.map(who).filter(Boolean)).size;
    if (!all) return more ? plural(more, "site") : null;
    const still = new Set(subjects.filter((s) => !s.ends_at).map(who).filter(Boolean)).size;
    const rest = more || still === all ? "" : still ? `, ${number(still)} still` : all === 1 ? ", back again" : ", all back again";
    return plural(all + more, "device") + rest;
}

/** @param {Card} one */
function incident(one) {
    const [sign, word] = STATES[one.state] ?? ["dot", asText(one.state)];
    const subjects = distinct(one.subjects ?? []);
    const list = el("ul", { class: "subjects" }, subjects.slice(0, SUBJECTS).map((s) => subject(s, one.site)));
    const left = subjects.length - SUBJECTS;
    const more = left > 0 && el("button", { type: "button", class: "small" }, `Show ${number(left)} more`);
    if (more) {
        more.addEventListener("click", () => {
            list.append(...subjects.slice(SUBJECTS).map((s) => subject(s, one.site)));
            more.remove();
        });
    }
    const over = subjects.length > 0 && !one.more && subjects.every((s) => s.ends_at);
    const label = `Silence ${asText(one.rule)}`;
    const silence = el("button", { type: "button", class: "small", "aria-label": label, disabled: !me.can_act,
        title: me.can_act ? null : "This page may not change anything" }, "Silence …");
    silence.addEventListener("click", () => silence.dispatchEvent(new CustomEvent("silence", { bubbles: true, detail: about(one) })));
    return el("li", { class: `card ${asText(one.severity)}` },
        el("div", { class: "with-button" }, el("h3", {}, foreign(one.rule)), silence),
        el("p", { class: "sum" }, severity(one.severity), " ", el("span", { class: "state" }, icon(sign), spell(word)),
            one.why ? [" ", el("span", { class: "quiet" }, words(one.why))] : null),
        el("dl", { class: "facts" },
            fact("Lasts", el("strong", {}, lasting(one.duration_ms ?? 0)), el("span", { class: "quiet" }, " since ", time(one.started))),
            fact("Site", one.site && foreign(one.site)),
            fact("Affected", affected(subjects, one.beyond ?? beyond(one))),
            fact("Told", told(one, over))),
        subjects.length ? [list, more, one.more ? el("p", { class: "quiet" }, `and ${number(one.more)} more that are not listed`) : null] : null);
}

/** Who has a message of it, and whom one is for that has not come there. @param {Card} one @param {boolean} over @returns {Child[]} */
function told(one, over) {
    const names = (/** @type {string[]} */ list) => list.flatMap((name, i) => [i ? ", " : "", foreign(name)]);
    const [waiting, failed] = [one.waiting ?? [], one.failed ?? []];
    // What is collected for a digest is on its way, too.
    const collected = (one.told ?? []).filter((name) => one.delivered && ![one.delivered, waiting, failed].flat().includes(name));
    const has = one.delivered ?? one.told ?? [];
    const parts = [
        has.length ? names(has) : el("span", { class: "quiet" }, over ? "nobody: it was over before" : "nobody yet"),
        waiting.length ? el("span", { class: "quiet" }, "waiting for ", names(waiting)) : null,
        collected.length ? el("span", { class: "quiet" }, "collected for ", names(collected)) : null,
        failed.length ? ["given up: ", names(failed)] : null,
    ].filter(Boolean);
    return parts.flatMap((part, i) => [i ? "; " : "", part]);
}

/** @param {Subject & { times: number }} one @param {string | null} of */
function subject(one, of) {
    const site = one.site ?? of;
    const name = one.device ?? one.device_mac ?? (site ? "its site" : "all sites");
    const device = who(one);
    /** @type {Record<string, string>} */
    const found = device ? { device } : site ? { site } : {};
    return el("li", { class: one.ends_at ? "over" : null },
        icon(one.ends_at ? "fine" : "dot"), " ",
        el("a", { href: `#/live?${new URLSearchParams(found)}` }, foreign(name, { max: 80 })),
        one.part ? [" ", el("code", {}, foreign(one.part, { max: 60 }))] : null,
        one.times > 1 ? el("span", { class: "quiet" }, ` ${number(one.times)} times,`) : null,
        el("span", { class: "quiet" }, one.ends_at ? [" back ", since(one.ends_at)] : one.starts_at ? [" since ", time(one.starts_at)] : null));
}

/** The most devices a silence names where it could name their site. */
const NAMED = 20;

/**
 * What a silence of this incident would be about: as the links in messages, what is wrong with whom; the site where they are too
 * many. `exactly`: what the names that are shown stand for, since a name may read as a pattern.
 * @param {Card} one @returns {import("./silences.js").Offer}
 */
function about(one) {
    const subjects = one.subjects ?? [];
    const lasting = subjects.some((s) => !s.ends_at) ? subjects.filter((s) => !s.ends_at) : subjects;
    const devices = [...new Map(lasting.map((s) => [who(s), s])).values()];
    const sites = new Set(subjects.map((s) => s.site ?? one.site ?? ""));
    const kind = { condition: asText(one.condition), type: one.condition ? "" : asText(one.type) };
    // Without what is wrong, their site alone would be silenced with all it has.
    const most = kind.condition || kind.type ? NAMED : Infinity;
    const each = devices.length > 0 && devices.every(who) && !one.more && devices.length <= most;
    const named = each || most === Infinity ? devices.filter(who) : [];
    const site = sites.size <= 1 ? (one.site ?? "") : "";
    const names = named.map((s) => s.device ?? s.device_mac).join(", ");
    return {
        ...kind, site, device: names, comment: [asText(one.rule), names && names.length < 200 ? names : null].filter(Boolean).join(": "),
        exactly: { site: site ? [exact(site)] : [], device: named.map((s) => s.device_mac ?? exact(s.device)), condition: kind.condition ? [exact(kind.condition)] : [], type: kind.type ? [exact(kind.type)] : [] },
    };
}

/** @type {Record<string, string>} */
const HEALTH = { ok: "fine", paused: "pause", refuses: "bad", fails: "bad", gone: "off" };

/** @param {Api.Answer<"GET", "destinations">} said @param {() => void} again @returns {Drawn} */
function destinations(said, again) {
    const list = said.destinations ?? [];
    const dead = said.dead_letters ?? [];
    const rows = list.map((to) => {
        const paused = to.paused_until && Date.parse(to.paused_until) > Date.now();
        const state = asText(to.state) || (paused ? "paused" : "ok");
        return [
            [foreign(to.name), el("span", { class: "quiet" }, " ", foreign(to.kind ?? ""))],
            el("span", { class: `state ${HEALTH[state] ?? "dot"}` }, icon(HEALTH[state] ?? (state.startsWith("ok") ? "fine" : "bad")), spell(state),
                paused ? ["; tries again ", since(to.paused_until, "now")] : null),
            [number(to.queued ?? 0), to.oldest ? el("span", { class: "quiet" }, " oldest ", since(to.oldest)) : null],
            to.last_success ? since(to.last_success) : el("span", { class: "quiet" }, "never"),
            lastError(to.last_error),
            number(to.dead ?? 0),
        ];
    });
    const heads = ["Name", "State", { name: "Queue" }, "Last success", "Last error", { name: "Dead", right: true }];
    return {
        count: list.length,
        nodes: [
            list.length ? table("Destinations", heads, rows, { stack: true }) : el("p", { class: "quiet" }, "None are configured."),
            el("h3", {}, "Dead letters ", el("span", { class: "count" }, number(Math.max(dead.length, list.reduce((sum, to) => sum + (to.dead ?? 0), 0))))),
            dead.length ? [forAll(list, dead, again), table("Dead letters", ["Message", "Destination", "When", "Why", "What now"], dead.map((one) => letter(one, list, again)), { stack: true })]
                : allWell("Every message was delivered, or still may be."),
        ],
    };
}

/** @param {Api.Destination["last_error"]} error @returns {Child} */
function lastError(error) {
    if (!error) return el("span", { class: "quiet" }, "none");
    return [words(error.why, { max: 300 }), el("span", { class: "quiet" }, " ", since(error.at))];
}

const GONE = "Its destination is not in the rules any more";
/** @param {Api.Destination[]} list @param {string} name */
const there = (list, name) => list.some((to) => to.name === name && to.state !== "gone");

/** @param {Api.DeadLetter} one @param {Api.Destination[]} list @param {() => void} again @returns {Child[]} */
function letter(one, list, again) {
    const title = plain(asText(one.title)) || asText(one.id);
    const path = (/** @type {string} */ what) => `dead-letters/${encodeURIComponent(one.id)}/${what}`;
    const named = `${title.slice(0, 80)}, to ${asText(one.destination)}`;
    return [
        foreign(title, { max: 120 }), foreign(one.destination), time(one.at), words(one.why, { max: 300 }),
        el("span", { class: "acts" },
            act("Send again", { label: `Send again: ${named}`, sure: "Really send?", path: path("resend"), says: () => "Queued", done: again,
                allowed: there(list, one.destination), why: GONE }),
            act("Discard", { label: `Discard: ${named}`, sure: "Really discard?", path: path("discard"), says: () => "Discarded", done: again })),
    ];
}

/** For each destination with several: all of them at once.
 * @param {Api.Destination[]} list @param {Api.DeadLetter[]} dead @param {() => void} again */
function forAll(list, dead, again) {
    const names = [...new Set(dead.map((one) => one.destination))].filter((name) => dead.filter((one) => one.destination === name).length > 1);
    const says = (/** @type {Api.Taken} */ { count }) => plural(count, "message");
    return names.map((name) => el("p", { class: "acts" }, el("span", {}, foreign(name, { max: 60 }), ":"),
        act("Send all again", { label: `Send all again to ${name}`, sure: "Really send all?", path: "dead-letters/all/resend", body: { to: name }, says, done: again,
            allowed: there(list, name), why: GONE }),
        act("Discard all", { label: `Discard all to ${name}`, sure: "Really discard all?", path: "dead-letters/all/discard", body: { to: name }, says, done: again })));
}

/** @param {Api.Answer<"GET", "feed">} said @returns {Drawn} */
function feed(said) {
    const sources = said.sources ?? [];
    const sum = (/** @type {unknown} */ value) => Number(value && typeof value === "object" ? Object.values(value).reduce((all, one) => all + one, 0) : value);
    const { total, per_second: _, ...fates } = said.totals ?? {};
    const totals = Object.entries({ events: total, ...fates }).map(([name, value]) => ({ name, value: sum(value) })).filter(({ value }) => Number.isFinite(value));
    if (said.behind > 0) totals.push({ name: "entries not judged yet", value: said.behind });
    const rows = sources.map((source) => [
        [foreign(source.name), source.signed === false ? el("span", { class: "quiet" }, " unsigned") : null],
        since(source.last_post),
        number(Math.round((source.posts_per_minute ?? 0) * 10) / 10),
        source.signature_failures ? el("span", { class: "state bad" }, icon("bad"), number(source.signature_failures)) : "0",
    ]);
    const heads = ["Source", "Last POST", { name: "A minute", right: true }, { name: "Bad signatures", right: true }];
    return {
        nodes: [
            sources.length ? table("Sources", heads, rows, { stack: true }) : el("p", { class: "quiet" }, "No source is configured."),
            totals.length ? el("dl", { class: "totals" }, totals.map(({ name, value }) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, number(value))))) : null,
        ],
    };
}
