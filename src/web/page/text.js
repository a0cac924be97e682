// Foreign text made safe to look at. What nobody can see, or what turns text around, is shown as what it is; nothing here
// ever makes markup.

const CONTROLS = "\\u0000-\\u001f\\u007f-\\u009f";
const UNSEEN =
    "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff" +
    "\\uffa0\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}";
const HIDDEN = new RegExp(`[${CONTROLS}${UNSEEN}]`, "u");
// No script puts so many upon one letter.
const PILE = /^[\p{Mn}\p{Me}]{2,}$/u;
const PILED = /[\p{Mn}\p{Me}]{6}/u;
const EACH_HIDDEN = new RegExp(`(?<=[\\p{Mn}\\p{Me}]{4})[\\p{Mn}\\p{Me}]{2,}|[${CONTROLS}${UNSEEN}]`, "gu");
// A look-alike switch after an emoji: it belongs there.
const HARMLESS = /^[\ufe0e\ufe0f]$/;

/** At most `max` characters; never half of one. @param {string} text @param {number} max */
export function cut(text, max) {
    if (text.length <= max) return text;
    const end = /[\ud800-\udbff]/.test(text[max - 1]) ? max - 1 : max;
    return text.slice(0, end);
}

/**
 * The parts of a text: `{text}` as it is, `{code}` for a character one could not see, or `{marks}`: so many more of those that are
 * put upon a letter, in a pile that would reach over what stands around it.
 * @param {string} text @returns {Part[]}
 */
export function parts(text) {
    if (!HIDDEN.test(text) && !PILED.test(text)) return [{ text }];
    /** @type {Part[]} */
    const found = [];
    let from = 0;
    for (const match of text.matchAll(EACH_HIDDEN)) {
        const char = match[0];
        if (HARMLESS.test(char)) continue;
        if (match.index > from) found.push({ text: text.slice(from, match.index) });
        found.push(PILE.test(char) ? { marks: [...char].length, char } : { code: char.codePointAt(0) ?? 0, char });
        from = match.index + char.length;
    }
    if (from < text.length) found.push({ text: text.slice(from) });
    return found;
}

/** The name of a character: U+202E. @param {number} code */
export function codeName(code) {
    return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Whatever came where a text should be. @param {unknown} value */
export function asText(value) {
    if (value === null || value === undefined) return "";
    return typeof value === "string" ? value : JSON.stringify(value);
}

/** Number with thin groups: 1,204,332. @param {unknown} value */
export function number(value) {
    return typeof value === "number" && Number.isFinite(value) ? value.toLocaleString("en") : "?";
}

/** "1 event", "2 events". @param {number} count @param {string} noun */
export function plural(count, noun, many = `${noun}s`) {
    return `${number(count)} ${count === 1 ? noun : many}`;
}

/** A value of `match` that fits this text alone: one with a star, or that begins with a slash, would read as a pattern. @param {unknown} text */
export function exact(text) {
    const value = asText(text);
    const isPattern = value.includes("*") || value.startsWith("/");
    return isPattern ? `/^${value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$/` : value;
}
