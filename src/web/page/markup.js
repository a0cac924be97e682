// The server's neutral markup, read as the server reads it: `**bold**`, `code`, [label](url), <time:SECONDS>,
// <clock:SECONDS>; a backslash makes the next punctuation plain. What is not well-formed is text.

import { webUrl } from "./pieces.js";

/**
 * @typedef {{ what: string, text: string, url?: string, seconds?: number, bold: boolean }} Span
 * What: `text`, `code`, `link`, `time` or `clock`.
 * @typedef {{ end: number, plain?: string, bold?: boolean, span?: Omit<Span, "bold"> }} Read What a reader found, and where to go on.
 */

const PUNCTUATION = /[!-/:-@[-`{-~]/;

/** The spans of a text. @param {string} markup */
export function parse(markup) {
    /** @type {Span[]} */
    const spans = [];
    let [plain, bold, at] = ["", false, 0];
    const flush = () => {
        if (plain) spans.push({ what: "text", text: plain, bold });
        plain = "";
    };
    const add = (/** @type {Omit<Span, "bold">} */ span) => {
        flush();
        spans.push({ ...span, bold });
    };
    while (at < markup.length) {
        const c = markup[at];
        const found = READERS[c]?.(markup, at + 1, bold);
        if (!found) {
            plain += c;
            at += 1;
            continue;
        }
        if (found.plain) plain += found.plain;
        else if (found.bold) {
            flush();
            bold = !bold;
        } else if (found.span) add(found.span);
        at = found.end;
    }
    flush();
    return spans;
}

/** By their first character. @type {Record<string, (text: string, at: number, bold: boolean) => Read | null>} */
const READERS = {
    "\\": (text, at) => (PUNCTUATION.test(text[at] ?? "") ? { plain: text[at], end: at + 1 } : null),
    "*": (text, at, bold) => {
        const isMark = text[at] === "*" && (bold || until(text, at + 1, "**"));
        return isMark ? { bold: true, end: at + 1 } : null;
    },
    "`": (text, at) => {
        const code = until(text, at, "`");
        return code?.text ? { span: { what: "code", text: code.text }, end: code.end } : null;
    },
    "[": (text, at) => {
        const label = until(text, at, "](");
        const url = label && until(text, label.end, ")");
        if (!url || !label.text || !webUrl(url.text)) return null;
        return { span: { what: "link", text: label.text, url: url.text }, end: url.end };
    },
    "<": (text, at) => {
        const token = /^(time|clock):(-?\d+)>/.exec(text.slice(at, at + 40));
        if (!token) return null;
        const seconds = Number(token[2]);
        return { span: { what: token[1], text: utc(seconds, token[1]), seconds }, end: at + token[0].length };
    },
};

/** The text before the first unescaped `end`, without its backslashes. @param {string} text @param {number} from @param {string} end */
function until(text, from, end) {
    let out = "";
    for (let at = from; at < text.length; at += 1) {
        if (text.startsWith(end, at)) return { text: out, end: at + end.length };
        if (text[at] === "\\" && PUNCTUATION.test(text[at + 1] ?? "")) at += 1;
        out += text[at];
    }
    return null;
}

/** A moment as chats without dates of their own show it. @param {number} seconds @param {string} [what] */
export function utc(seconds, what = "time") {
    const date = new Date(seconds * 1000);
    if (Number.isNaN(date.getTime())) return String(seconds);
    const iso = date.toISOString();
    return what === "clock" ? `${iso.slice(11, 16)} UTC` : `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** Without its marks. @param {string} markup */
export function plain(markup) {
    return parse(markup).map((span) => span.text).join("");
}
