// A message as Slack and as Teams would show it, and how its deliveries went.

import { el, foreign, outward, spell, table } from "./dom.js";
import { parse, plain, utc } from "./markup.js";
import { asText } from "./text.js";
import { moment, short, time } from "./time.js";

const BALLS = { critical: "🔴", warning: "🟠", info: "🔵" };
const WELL = ["resolved", "recovered"];

/** What the server's encoders show for a message: the same icon, word and mood. */
export function look(message) {
    const severity = BALLS[message.severity] ? message.severity : "warning";
    const reason = asText(message.reason);
    const ends = message.subjects?.length ? message.subjects.every((subject) => subject.ends_at) : false;
    const well = WELL.includes(reason) || (reason === "stable" && ends);
    if (well) return { icon: "🟢", mood: "good", label: "State", word: reason };
    if (reason === "digest") return { icon: "📋", mood: "info", label: "State", word: "digest" };
    return { icon: reason === "flapping" ? "🔁" : BALLS[severity], mood: severity, label: "Severity", word: severity };
}

/** Its facts, whatever their form, as pairs. */
export function facts(message) {
    const list = message.facts ?? [];
    const pairs = Array.isArray(list) ? list : Object.entries(list);
    return pairs.map((fact) => (Array.isArray(fact) ? fact : [fact?.name ?? fact?.title, fact?.value])).map(([n, v]) => [asText(n), asText(v)]);
}

function spans(markup, show) {
    return parse(asText(markup)).map((span) => {
        const inner = show(span);
        return span.bold && span.what !== "code" ? el("strong", {}, inner) : inner;
    });
}

const inSlack = (span) => {
    if (span.what === "code") return el("code", {}, spell(span.text));
    if (span.what === "link") return outward(spell(span.text), span.url);
    if (span.what === "time" || span.what === "clock") {
        const date = new Date(span.seconds * 1000);
        const text = span.what === "clock" ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : short(date);
        return el("time", { datetime: date.toISOString(), title: span.text }, text);
    }
    return lines(span.text);
};

const inTeams = (span) => {
    if (span.what === "link") return outward(spell(span.text), span.url);
    return span.what === "code" ? spell(span.text) : lines(span.text);
};

/** Line breaks as breaks; they are the template's own, an event's were made spaces. */
function lines(text) {
    return text.split("\n").flatMap((line, i) => (i ? [el("br"), ...spell(line)] : spell(line)));
}

function site(message, title) {
    const value = facts(message).find(([name]) => name === "Site")?.[1];
    const name = value && plain(value);
    return name && !title.includes(name) ? name : null;
}

/** As Slack shows it. */
export function slack(message) {
    const { icon, mood, label, word } = look(message);
    const title = plain(asText(message.title));
    const where = site(message, title);
    const shown = facts(message);
    const fields = [[label, word], ...shown.slice(0, 7)];
    const links = message.links ?? [];
    return el("figure", { class: "preview slack" },
        el("figcaption", {}, "Slack"),
        el("div", { class: "chat" },
            el("p", { class: "headline" }, `${icon} `, el("strong", {}, foreign(title)), where ? [" | ", foreign(where)] : null),
            el("div", { class: `bar ${mood}` },
                message.text ? el("p", {}, spans(message.text, inSlack)) : null,
                el("dl", {}, fields.map(([name, value], i) =>
                    el("div", {}, el("dt", {}, foreign(name)), el("dd", {}, i ? spans(value, inSlack) : value)))),
                shown.length > 7 ? el("p", { class: "quiet" }, el("i", {}, `${shown.length - 7} more fields`)) : null,
                links.length ? el("p", {}, links.flatMap((l, i) => [i ? "  |  " : "", outward(foreign(l.label), l.url)])) : null,
                footer(message))));
}

/** As Teams shows it. */
export function teams(message) {
    const { icon, mood, word } = look(message);
    const title = plain(asText(message.title));
    const at = moment(message.at);
    const links = message.links ?? [];
    const subtle = [word, site(message, title), at ? utc(Math.floor(at.getTime() / 1000)) : null].filter(Boolean).join(" · ");
    const shown = facts(message);
    return el("figure", { class: "preview teams" },
        el("figcaption", {}, "Teams"),
        el("div", { class: "chat" },
            el("div", { class: `head ${mood}` }, el("p", { class: "headline" }, `${icon} `, foreign(title)), el("p", { class: "quiet" }, spell(subtle))),
            asText(message.text).split("\n\n").filter((part) => part.trim()).map((part) => el("p", {}, spans(part, inTeams))),
            shown.length ? el("dl", {}, shown.slice(0, 10).map(([name, value]) =>
                el("div", {}, el("dt", {}, foreign(name)), el("dd", {}, spans(value, inTeams))))) : null,
            footer(message),
            links.length ? el("p", { class: "buttons" }, links.slice(0, 6).map((l) => outward(foreign(l.label), l.url, { class: "button" }))) : null));
}

function footer(message) {
    const parts = [["rule", message.rule], ["id", message.id]].filter(([, value]) => value);
    if (!parts.length) return null;
    return el("p", { class: "small-print" }, parts.flatMap(([name, value], i) => [i ? "  |  " : "", `${name} `, el("code", {}, foreign(value))]));
}

/** How each delivery went, try by try. */
export function deliveries(message) {
    const rows = (message.destinations ?? []).flatMap((to) => {
        const tries = to.attempts?.length ? to.attempts : [null];
        return tries.map((attempt) => [
            foreign(to.name),
            foreign(to.state ?? ""),
            attempt ? time(attempt.at) : "–",
            attempt ? asText(attempt.status) || "–" : "not tried yet",
            attempt?.reply ? foreign(attempt.reply, { max: 300 }) : "",
        ]);
    });
    if (!rows.length) return el("p", { class: "quiet" }, "It went nowhere yet.");
    return table("Deliveries", ["Destination", "State", "Tried", "Status", "Reply"], rows, { stack: true });
}
