// More of what views are made of, for those beside Live: it needs none of it, and is there sooner.

import { el, say } from "./dom.js";

/** @typedef {string | { name: string, right?: boolean }} Head Of a column. */

/** A link out of here: to http and https only, and telling nobody where from. Anything else is just its label.
 * @param {Child} label @param {string} url @param {Props} [props] */
export function outward(label, url, props = {}) {
    const safe = webUrl(url);
    if (!safe) return el("span", props, label);
    return el("a", { ...props, href: safe, target: "_blank", rel: "noopener noreferrer" }, label);
}

/** As the server's markup has it: http or https, plain characters. @param {string} url */
export function webUrl(url) {
    if (!/^https?:\/\/[A-Za-z0-9[]/.test(url) || /[^\x21-\x7e]|[<>|"\\`^]/.test(url)) return null;
    return URL.canParse(url) ? url : null;
}

/** Puts a text on the clipboard, and says so on the button. @param {string} label @param {string | (() => string | null)} text */
export function copyButton(label, text) {
    const button = el("button", { type: "button", class: "small" }, label);
    button.addEventListener("click", async () => {
        const done = await copy((typeof text === "function" ? text() : text) ?? "");
        button.textContent = done ? "Copied" : "Select it and copy";
        say(done ? "Copied" : "The browser does not let this page copy");
        setTimeout(() => (button.textContent = label), 2000);
    });
    return button;
}

/** @param {string} text */
async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        // Without https the clipboard is closed; the old way still works.
        const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
        area.value = text;
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}

/** A name and what it is, for a `dl`. Nothing where there is no value. @param {string} name @param {Child[]} value */
export function fact(name, ...value) {
    const shown = value.flat().filter((v) => v !== null && v !== undefined && v !== false && v !== "");
    return shown.length ? el("div", {}, el("dt", {}, name), el("dd", {}, shown)) : null;
}

/** @param {Head | undefined} head */
const title = (head) => (typeof head === "object" ? head.name : (head ?? ""));

/** @param {Head | undefined} head */
const right = (head) => typeof head === "object" && head.right && "right";

/**
 * A table in a box that scrolls by itself where it is too wide. On a phone one of `stack` shows each row as a card: hence the
 * roles, which a browser forgets with the layout.
 * @param {string} name @param {Head[]} heads @param {Child[][]} rows @param {{ stack?: boolean }} [options]
 */
export function table(name, heads, rows, { stack = false } = {}) {
    const head = el("tr", { role: "row" }, heads.map((h) =>
        el("th", { scope: "col", role: "columnheader", class: right(h) }, title(h))));
    const cell = (/** @type {Child} */ content, /** @type {number} */ at) => at === 0
        ? el("th", { scope: "row", role: "rowheader" }, content)
        : el("td", { role: "cell", class: right(heads[at]), data: { label: title(heads[at]) } }, el("span", {}, content));
    const body = rows.map((cells) => el("tr", { role: "row" }, cells.map(cell)));
    return el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": `${name}, as a table` },
        el("table", { role: "table", "aria-label": name, class: stack ? "stack" : null },
            el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, body)),
    );
}
