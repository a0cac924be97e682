// What Foghorn posts, as the chats show it: Block Kit and mrkdwn as Slack does, an Adaptive Card and its markdown as Teams
// does. Only what is in the payload; an element this page does not know is named, not guessed.

import { el, spell } from "./dom.js";
import { outward, webUrl } from "./pieces.js";
import { asText } from "./text.js";
import { short } from "./time.js";

/** @typedef {{ end: number, node?: Node, plain?: string }} Read What a reader found, and where to go on. */
/** @typedef {{ undo: (text: string) => string, readers: Record<string, (text: string, at: number, depth: number) => Read | null | false> }} Dialect */

/** @type {Record<string, string>} */
const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };
const WORD = /[\p{L}\p{N}]/u;
/** Marks within marks, not deeper. */
const DEEPEST = 4;

const unescape = (/** @type {string} */ text) => text.replace(/&(?:lt|gt|amp);/g, (entity) => ENTITIES[entity]);

/** Text as chats show it: the server's own zero-width spaces keep things apart that would come alive; nobody sees them. @param {string} text */
function plain(text) {
    return text.replaceAll("\u200b", "").split("\n").flatMap((line, i) => (i ? [el("br"), ...spell(line)] : spell(line)));
}

/** @param {string} what @param {unknown} kind */
const strange = (what, kind) => el("p", { class: "strange" }, `${what} `, el("code", {}, spell(asText(kind).slice(0, 60))), " is not shown here");

// Slack

/** As Slack shows it. @param {any} payload */
export function slack(payload) {
    return figure("slack", "Slack",
        payload?.text ? el("p", { class: "headline" }, mrkdwn(payload.text)) : null,
        (payload?.attachments ?? []).map((/** @type {any} */ attachment) => {
            const node = el("div", { class: "bar" }, (attachment.blocks ?? []).map(block));
            if (/^#[0-9a-f]{6}$/i.test(attachment.color ?? "")) node.style.setProperty("border-left-color", attachment.color);
            return node;
        }),
        (payload?.blocks ?? []).map(block));
}

/** @param {string} kind @param {string} name @param {Child[]} inside */
function figure(kind, name, ...inside) {
    return el("figure", { class: `preview ${kind}` }, el("figcaption", {}, name), el("div", { class: "chat" }, inside));
}

/** @param {any} one @returns {Child} */
function block(one) {
    /** @type {Record<string, () => Child>} */
    const draws = {
        section: () => [one.text ? el("p", {}, said(one.text)) : null,
            one.fields?.length ? el("div", { class: "fields-2" }, one.fields.map((/** @type {any} */ field) => el("p", {}, said(field)))) : null],
        context: () => el("p", { class: "small-print" }, (one.elements ?? []).flatMap((/** @type {any} */ element, /** @type {number} */ i) => [i ? " " : null, said(element)])),
        header: () => el("p", { class: "headline" }, el("strong", {}, said(one.text))),
        divider: () => el("hr"),
    };
    const draw = draws[one?.type];
    return draw ? draw() : strange("Block", one?.type);
}

/** @param {any} text */
function said(text) {
    if (text?.type === "mrkdwn") return mrkdwn(asText(text.text));
    if (text?.type === "plain_text") return plain(asText(text.text));
    return strange("Element", text?.type);
}

/** mrkdwn: nodes. A line that begins with `>` is a quotation. @param {string} text @returns {Node[]} */
export function mrkdwn(text) {
    return text.split("\n").flatMap((line, i) => {
        const quoted = /^(?:&gt;|>) ?/.exec(line);
        const nodes = inline(quoted ? line.slice(quoted[0].length) : line, SLACK, 0);
        const end = i ? [el("br")] : [];
        return quoted ? [...end, el("q", { class: "quoted" }, nodes)] : [...end, ...nodes];
    });
}

/** One line, by these readers: each gives a node and where to go on, or nothing.
 * @param {string} text @param {Dialect} dialect @param {number} depth */
function inline(text, { readers, undo }, depth) {
    /** @type {Node[]} */
    const out = [];
    let [rest, at] = ["", 0];
    const flush = () => {
        if (rest) out.push(...plain(undo(rest)));
        rest = "";
    };
    while (at < text.length) {
        const found = readers[text[at]]?.(text, at, depth);
        if (found && found.plain !== undefined) rest += found.plain;
        else if (found && found.node) {
            flush();
            out.push(found.node);
        } else rest += text[at];
        at = found ? found.end : at + 1;
    }
    flush();
    return out;
}

/** @type {Dialect} */
const SLACK = {
    undo: unescape,
    readers: {
        "<": (text, at) => {
            const token = /^<([^<>]*)>/.exec(text.slice(at, at + 4_000));
            return token && { node: meant(token[1]), end: at + token[0].length };
        },
        "`": (text, at) => {
            const end = text.indexOf("`", at + 1);
            return end > at + 1 ? { node: el("code", {}, plain(unescape(text.slice(at + 1, end)))), end: end + 1 } : null;
        },
        "*": (text, at, depth) => marked(text, at, depth, "*", "strong", SLACK),
        _: (text, at, depth) => marked(text, at, depth, "_", "em", SLACK),
        "~": (text, at, depth) => marked(text, at, depth, "~", "s", SLACK),
        // A bare address becomes a link by itself.
        h: (text, at) => {
            const url = /^https?:\/\/[^\s<>]+/.exec(text.slice(at, at + 2_000));
            return url && !WORD.test(text[at - 1] ?? "") ? { node: outward(plain(unescape(url[0])), unescape(url[0])), end: at + url[0].length } : null;
        },
    },
};

/** What stands between a mark and its like: both at the edge of words, neither beside a space within.
 * @param {string} text @param {number} at @param {number} depth @param {string} mark @param {"strong" | "em" | "s"} tag @param {Dialect} kind */
function marked(text, at, depth, mark, tag, kind) {
    const size = mark.length;
    if (depth >= DEEPEST || WORD.test(text[at - 1] ?? "") || /[\s]|^$/.test(text[at + size] ?? "")) return null;
    for (let end = text.indexOf(mark, at + size + 1); end > 0; end = text.indexOf(mark, end + 1)) {
        const closes = !/\s/.test(text[end - 1]) && !WORD.test(text[end + size] ?? "") && !(kind === TEAMS && text[end - 1] === "\\");
        if (closes) return { node: el(tag, {}, inline(text.slice(at + size, end), kind, depth + 1)), end: end + size };
    }
    return null;
}

/** What stands between `<` and `>`. @param {string} token */
function meant(token) {
    const [target, label] = cutAt(token, "|");
    if (target.startsWith("!date^")) return date(target, unescape(label ?? ""));
    if (/^[!@#]/.test(target)) return el("strong", { class: "mention", title: "this would call people" }, plain(unescape(label ?? target)));
    return outward(plain(unescape(label ?? target)), unescape(target));
}

/** @param {string} text @param {string} mark @returns {[string, string | undefined]} */
function cutAt(text, mark) {
    const at = text.indexOf(mark);
    return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/** @type {Record<string, Intl.DateTimeFormatOptions>} */
const PIECES = {
    date: { dateStyle: "long" }, date_num: { dateStyle: "short" }, date_short: { day: "numeric", month: "short", year: "numeric" },
    date_long: { dateStyle: "full" }, date_pretty: { dateStyle: "long" }, date_short_pretty: { day: "numeric", month: "short", year: "numeric" },
    date_long_pretty: { dateStyle: "full" }, time: { hour: "numeric", minute: "2-digit" }, time_secs: { hour: "numeric", minute: "2-digit", second: "2-digit" },
};

/** `!date^SECONDS^FORMAT`, in the reader's zone. @param {string} target @param {string} fallback */
function date(target, fallback) {
    const [, seconds, format, link] = target.split("^");
    const when = new Date(Number(seconds) * 1000);
    if (!seconds || Number.isNaN(when.getTime())) return el("span", {}, plain(fallback));
    const text = asText(format).replace(/\{(\w+)\}/g, (whole, name) => {
        if (!Object.hasOwn(PIECES, name)) return whole;
        return (name.endsWith("_pretty") && near(when)) || when.toLocaleString(undefined, PIECES[name]);
    });
    const node = el("time", { datetime: when.toISOString(), title: when.toISOString() }, plain(text));
    return link ? outward(node, unescape(link)) : node;
}

/** @param {Date} when */
function near(when) {
    const day = (/** @type {Date | number} */ date) => new Date(date).setHours(0, 0, 0, 0);
    const days = Math.round((day(when) - day(Date.now())) / 86_400_000);
    return ["Yesterday", "Today", "Tomorrow"][days + 1];
}

// Teams

/** As Teams shows it. @param {any} payload */
export function teams(payload) {
    const cards = (payload?.attachments ?? []).map((/** @type {any} */ { contentType, content }) =>
        contentType === "application/vnd.microsoft.card.adaptive" ? card(content ?? {}) : strange("Attachment", contentType));
    return figure("teams", "Teams", cards);
}

/** @param {any} content */
function card(content) {
    const actions = content.actions ?? [];
    return [(content.body ?? []).map(element), actions.length ? el("p", { class: "buttons" }, actions.map(action)) : null];
}

/** @param {any} one */
function action(one) {
    if (one?.type !== "Action.OpenUrl") return strange("Action", one?.type);
    return webUrl(one.url ?? "") ? outward(plain(asText(one.title)), one.url, { class: "button" }) : el("span", { class: "button" }, plain(asText(one.title)));
}

/** @param {unknown} value @param {string[]} words */
const known = (value, words) => (words.includes(asText(value).toLowerCase()) ? asText(value).toLowerCase() : "");

/** @param {any} one @returns {Child} */
function element(one) {
    /** @type {Record<string, () => Child>} */
    const draws = {
        Container: () => el("div", { class: `container ${known(one.style, ["attention", "warning", "good", "accent", "emphasis"])} ${one.bleed ? "bleed" : ""}` },
            (one.items ?? []).map(element)),
        TextBlock: () => el("div", { class: textClass(one) }, markdown(asText(one.text))),
        FactSet: () => el("dl", {}, (one.facts ?? []).map((/** @type {any} */ fact) =>
            el("div", {}, el("dt", {}, markdown(asText(fact.title))), el("dd", {}, markdown(asText(fact.value)))))),
    };
    const draw = draws[one?.type];
    return draw ? draw() : strange("Element", one?.type);
}

/** @param {any} one */
function textClass(one) {
    const classes = ["text", known(one.color, ["attention", "warning", "good", "accent"]), known(one.weight, ["bolder", "lighter"]),
        known(one.size, ["small", "medium", "large", "extralarge"]), one.isSubtle && "subtle", one.separator && "separated", known(one.spacing, ["none"]) && "close"];
    return classes.filter(Boolean).join(" ");
}

/** The markdown of a card: paragraphs, lists, bold, italic, links, dates. A single line break is a space. @param {string} text */
export function markdown(text) {
    return text.split(/\n{2,}/).map((part) => {
        const lines = part.split("\n");
        const listed = /^(?:[-*+]|\d+[.)]) /;
        if (lines.every((line) => listed.test(line))) {
            const tag = /^\d/.test(part) ? "ol" : "ul";
            return el(tag, {}, lines.map((line) => el("li", {}, inline(line.replace(listed, ""), TEAMS, 0))));
        }
        return el("p", {}, inline(lines.join(" "), TEAMS, 0));
    });
}

/** @type {Dialect} */
const TEAMS = {
    undo: unescape,
    readers: {
        "\\": (text, at) => (/[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? { plain: text[at + 1] === "&" ? "&amp;" : text[at + 1], end: at + 2 } : null),
        "*": (text, at, depth) => (text[at + 1] === "*" ? marked(text, at, depth, "**", "strong", TEAMS) : marked(text, at, depth, "*", "em", TEAMS)),
        _: (text, at, depth) => marked(text, at, depth, "_", "em", TEAMS),
        "[": (text, at, depth) => {
            const link = /^\[((?:[^\]\\]|\\.)*)\]\(([^()\s]*)\)/.exec(text.slice(at, at + 4_000));
            return link && depth < DEEPEST && { node: outward(inline(link[1], TEAMS, DEEPEST), unescape(link[2])), end: at + link[0].length };
        },
        "{": (text, at) => {
            const token = /^\{\{(DATE|TIME)\(([^(),]+)(?:,\s*(COMPACT|SHORT|LONG))?\)\}\}/.exec(text.slice(at, at + 100));
            if (!token) return null;
            const when = new Date(token[2]);
            if (Number.isNaN(when.getTime())) return null;
            const style = /** @type {Record<string, "short" | "medium" | "full">} */ ({ SHORT: "medium", LONG: "full" })[token[3]] ?? "short";
            /** @type {Intl.DateTimeFormatOptions} */
            const how = token[1] === "TIME" ? { timeStyle: "short" } : { dateStyle: style };
            return { node: el("time", { datetime: when.toISOString(), title: short(when) }, when.toLocaleString(undefined, how)), end: at + token[0].length };
        },
    },
};
