// Silences: those in force, making one, ending one.

import { aborted, ask, me, statusOf } from "./api.js";
import { el, foreign, icon, say, spell, trouble } from "./dom.js";
import { since } from "./elapsed.js";
import { asText, number, plural } from "./text.js";

const LASTS = [["1h", "1 hour"], ["4h", "4 hours"], ["1d", "1 day"], ["morning", "until morning (8:00 where Foghorn runs)"], ["resolved", "until resolved"], ["own", "another time …"]];

const MOST_DAYS = 366;

/** @typedef {Record<string, string | string[]>} Match As the API takes it. */
/** @typedef {Record<string, { text: string, values: string[] }>} Offered */

/** What is offered to be silenced: texts of the form's fields, and the values of `match` they stand for.
 * @typedef {Record<"condition" | "type" | "site" | "device" | "comment", string> & { exactly: Record<string, string[]> }} Offer */

/** The part of the page about silences. @param {{ signal: AbortSignal }} view */
export function silences({ signal }) {
    const list = el("div");
    const count = el("span", { class: "count" });
    const form = maker(() => load());
    const node = el("section", { "aria-labelledby": "h-silences", class: "silences" },
        el("h2", { id: "h-silences" }, "Silences ", count), list, form.node);
    const load = async () => {
        form.allow(Boolean(me.can_act));
        if (!me.can_act && !me.can_see) return list.replaceChildren(closed());
        try {
            const all = await ask("silences", { signal });
            count.textContent = number(all.length);
            if (!list.contains(document.activeElement)) list.replaceChildren(shown(all, load));
        } catch (error) {
            if (aborted(error)) return;
            const unseen = [401, 403].includes(statusOf(error));
            list.replaceChildren(unseen ? closed() : trouble(error, load));
        }
    };
    return { node, load, offer: form.offer };
}

function closed() {
    return el("p", { class: "quiet" }, "This page may not see them. In a terminal: ", el("code", {}, "foghorn silence list"), ".");
}

/** @param {Api.Silence[]} all @param {() => void} again */
function shown(all, again) {
    if (!all.length) return el("p", { class: "quiet" }, "Nothing is silenced.");
    return el("ul", { class: "cards" }, all.map((one) => silence(one, again)));
}

/** @param {Api.Silence} one @param {() => void} again */
function silence(one, again) {
    const end = el("button", { type: "button", class: "small", disabled: !me.can_act, "aria-label": `End silence ${asText(one.id)}` }, "End");
    const note = el("div");
    end.addEventListener("click", async () => {
        if (end.dataset.sure !== "yes") {
            end.dataset.sure = "yes";
            end.textContent = "Really end it?";
            setTimeout(() => { end.dataset.sure = ""; end.textContent = "End"; }, 4000);
            return;
        }
        end.disabled = true;
        try {
            await ask(`silences/${encodeURIComponent(one.id)}`, { method: "DELETE", params: new URLSearchParams({ author: me.name || NAMELESS }) });
            say("The silence is over");
            end.blur();
            again();
        } catch (error) {
            end.disabled = false;
            note.replaceChildren(trouble(error));
        }
    });
    const what = Object.entries(one.match ?? {});
    return el("li", { class: "card" },
        el("div", { class: "with-button" },
            el("p", { class: "match" }, what.length ? what.map(([key, value]) => el("span", { class: "pair" }, el("code", {}, key), " ", foreign(Array.isArray(value) ? value.map(asText).join(", ") : value))) : "everything"),
            end),
        el("p", { class: "quiet" },
            one.until === "resolved" ? "until resolved" : ["ends ", since(one.until)],
            ` · ${plural(one.matching ?? 0, "open alert")} · `, by(one.author),
            one.comment ? [" · ", foreign(one.comment)] : null),
        note);
}

/** Who nobody named is called by the way they came. */
const NAMELESS = "someone on the page";

/** @param {string} author @returns {Child} */
function by(author) {
    if (!author || author === "page") return `by ${NAMELESS}`;
    return author === "api" ? "by the API" : ["by ", foreign(author)];
}

/** The form that makes one. @param {() => void} done */
function maker(done) {
    const input = (/** @type {string} */ name, /** @type {string} */ label, /** @type {Props} */ { wide, ...props } = {}) => el("label", { class: wide && "wide" }, label, el("input", { name, autocomplete: "off", ...props }));
    const own = el("label", { hidden: true }, "Until", el("input", { type: "datetime-local", name: "time" }));
    const lasts = el("select", { name: "lasts" }, LASTS.map(([value, text]) => el("option", { value }, text)));
    lasts.addEventListener("change", () => (own.hidden = lasts.value !== "own"));
    const all = el("input", { type: "checkbox", name: "all" });
    const button = el("button", { type: "submit" }, "Silence");
    const note = el("div", { role: "status" });
    /** What was offered: the text of a field, and the values it stands for as long as nobody changes it. @type {Offered} */
    let offered = {};
    const meant = el("p", { class: "quiet", hidden: true }, "Sites and devices are meant exactly as they are. In what you write, ", el("code", {}, "*"), " stands for anything.");
    const width = el("p", { class: "explain", role: "status", hidden: true });
    const measure = () => {
        const asked = request(new FormData(form), offered);
        const wide = "match" in asked && asked.match && tooWide(asked.match);
        width.hidden = !wide;
        const said = wide ? `As it stands this silences ${wide}.` : "";
        if (width.dataset.said !== said) width.replaceChildren(icon("look"), el("span", {}, spell(said)));
        width.dataset.said = said;
    };
    const fields = el("fieldset", {},
        el("legend", { class: "hidden" }, "What to silence, and for how long"),
        el("div", { class: "fields" },
            input("site", "Site", { wide: true }), input("device", "Device", { wide: true, placeholder: "several: with commas" }),
            input("condition", "Condition", { placeholder: "ap_offline" }), input("type", "Type", { placeholder: "AP_DISCONNECTED" }),
            el("label", {}, "How long", lasts), own,
            input("author", "Who are you?", { maxlength: 80 }), input("comment", "Why?", { wide: true, maxlength: 500 })),
        el("label", { class: "check" }, all, " Everything, whatever it is"),
        meant, width, button, note);
    const why = el("p", { class: "explain" }, icon("look"),
        el("span", {}, "This page may only look. Silence from a terminal (", el("code", {}, "foghorn silence add"), "), or by the links in messages."));
    const form = el("form", { "aria-label": "Make a silence" }, fields);
    const box = el("details", { class: "maker" }, el("summary", {}, "Make a silence"), why, form);
    const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
    form.addEventListener("input", measure);
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const asked = request(new FormData(form), offered);
        if ("problem" in asked) return note.replaceChildren(trouble({ message: asked.problem }));
        button.disabled = true;
        try {
            const made = await ask("silences", { method: "POST", body: asked });
            note.replaceChildren(el("p", { class: "well" }, icon("fine"), made.over ? "Nothing it matches is open: it was over at once." : "It is in force."));
            form.reset();
            offered = {};
            own.hidden = meant.hidden = width.hidden = true;
            done();
        } catch (error) {
            note.replaceChildren(trouble(error));
        }
        button.disabled = false;
    });
    return {
        node: box,
        allow: (/** @type {boolean} */ may) => {
            fields.disabled = !may;
            why.hidden = may;
        },
        offer: (/** @type {Offer} */ { exactly, ...texts }) => {
            box.open = true;
            for (const [name, text] of Object.entries(texts)) field(name).value = text;
            offered = Object.fromEntries(Object.entries(exactly).map(([name, values]) => [name, { text: field(name).value.trim(), values }]));
            meant.hidden = !texts.site && !texts.device;
            note.replaceChildren();
            measure();
            box.scrollIntoView({ block: "nearest" });
            field("site").focus();
        },
    };
}

/** What a silence reaches that names neither a device nor what is wrong at a place; or nothing. @param {Match} match */
function tooWide(match) {
    const anything = (/** @type {string | string[]} */ values) => [values].flat().some((value) => /^\*+$|^\/(\.\*|\^|\$|\.)?\/$/.test(value));
    const says = (/** @type {string} */ key) => match[key] !== undefined && !anything(match[key]);
    if (says("device")) return null;
    const what = says("condition") || says("type");
    if (what && says("site")) return null;
    if (what) return "this everywhere, at every site";
    return says("site") ? "everything at this site: say a condition, a type or devices, too" : "everything there is";
}

/** What the API is asked, from what the form says; or what is wrong with it. `offered`: what unchanged fields stand for.
 * @param {Pick<FormData, "get">} data @param {Offered} [offered] */
export function request(data, offered = {}) {
    const said = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
    /** @type {Match} */
    const match = {};
    for (const field of ["site", "device", "condition", "type"]) {
        const offer = offered[field];
        if (offer?.text && said(field) === offer.text) {
            match[field] = offer.values.length > 1 ? offer.values : offer.values[0];
            continue;
        }
        const values = said(field).split(",").map((v) => v.trim()).filter(Boolean);
        if (values.length) match[field] = values.length > 1 && field === "device" ? values : said(field);
    }
    const all = data.get("all") !== null;
    const some = Object.keys(match).length > 0;
    if (!all && !some) return { problem: "Say what to silence, or tick “Everything”" };
    if (all && some) return { problem: "“Everything” and a site, device … contradict each other" };
    /** @type {{ all?: boolean, match?: Match, until?: string, for?: string }} */
    const asked = all ? { all: true } : { match };
    const lasts = said("lasts");
    if (lasts === "own") {
        const until = new Date(said("time"));
        if (Number.isNaN(until.getTime())) return { problem: "Say until when" };
        if (until.getTime() <= Date.now()) return { problem: "That time is past: choose a later one" };
        if (until.getTime() > Date.now() + MOST_DAYS * 86_400_000) return { problem: "A silence lasts at most a year" };
        asked.until = until.toISOString();
    } else if (["morning", "resolved"].includes(lasts)) asked.until = lasts;
    else asked.for = lasts;
    return { ...asked, author: said("author") || me.name || NAMELESS, comment: said("comment") };
}
