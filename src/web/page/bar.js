// The head of Live: search and filters, the counts by outcome, and the button that pauses.

import { el, icon } from "./dom.js";
import { FATES, fate } from "./fates.js";
import { FILTERS } from "./filter.js";
import { number } from "./text.js";

/** Typing ends after a pause of this length; what was typed is applied then. */
const TYPED_MS = 350;
/** Maximum number of values a field suggests, and their length. */
const SUGGESTED = 60;
const LONGEST = 80;

export class Bar {
    /** What is typed in one go is one step of the browser's history. */
    #typing = false;
    /** Values each field suggests. @type {Map<string, Set<unknown>>} */
    #known = new Map(FILTERS.map(([key]) => [key, new Set()]));

    /**
     * @param {URLSearchParams} params
     * @param {(params: URLSearchParams, more: boolean) => void} filter Applies other filters. `more`: typing goes on.
     * @param {() => void} pause @param {AbortSignal} signal
     */
    constructor(params, filter, pause, signal) {
        this.params = params;
        this.apply = filter;
        this.search = el("input", {
            type: "search", id: "q", name: "q", value: params.get("q") ?? "", placeholder: "Search words, devices, types …",
            "aria-label": "Search", autocomplete: "off", spellcheck: "false",
        });
        this.pauseButton = el("button", { type: "button", class: "pausing", on: { click: pause } });
        this.setPaused(false);
        this.form = this.#form(signal);
        this.rate = el("p", { class: "rate" });
        /** @type {Map<string, { button: HTMLElement, count: HTMLElement }>} */
        this.chips = new Map(["", ...FATES].map((name) => [name, this.#chip(name)]));
        const chips = [...this.chips.values()].map(({ button }) => button);
        this.counts = el("div", { class: "counts" }, el("div", { role: "group", "aria-label": "Fate", class: "fates" }, chips), this.rate);
        this.show(params);
    }

    /** @param {AbortSignal} signal */
    #form(signal) {
        const fields = FILTERS.map(([key, name]) =>
            el("label", {}, name, el("input", { name: key, value: this.params.get(key) ?? "", list: `seen-${key}`, autocomplete: "off", spellcheck: "false" }),
                el("datalist", { id: `seen-${key}` })));
        this.summary = el("summary");
        const filters = el("details", { class: "filters", open: FILTERS.some(([key]) => this.params.get(key)) }, this.summary,
            el("div", { class: "fields" }, fields,
                el("button", { type: "button", class: "small", on: { click: () => this.#clear() } }, "Clear all")));
        const form = el("form", { role: "search", class: "bar", "aria-label": "Events" },
            el("div", { class: "first" }, this.search, this.pauseButton), filters);
        let soon = 0;
        form.addEventListener("submit", (e) => { e.preventDefault(); this.#apply(false); });
        form.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(() => this.#apply(true), TYPED_MS); });
        form.addEventListener("change", () => { clearTimeout(soon); this.#apply(true); this.#typing = false; });
        signal.addEventListener("abort", () => clearTimeout(soon));
        return form;
    }

    /** @param {string} name */
    #chip(name) {
        const count = el("span", { class: "n" });
        const label = name ? fate(name) : el("span", { class: "fate" }, el("span", {}, "all"));
        const button = el("button", { type: "button", on: { click: () => this.#choose(name) } }, label, count);
        return { button, count };
    }

    /** Shows which filters are in use. @param {URLSearchParams} params */
    show(params) {
        this.params = params;
        for (const [name, { button }] of this.chips) button.setAttribute("aria-pressed", String(name === (params.get("fate") ?? "")));
        const used = FILTERS.filter(([key]) => params.get(key)).length;
        if (this.summary) this.summary.textContent = used ? `Filters (${used})` : "Filters";
    }

    /** @param {boolean} typing */
    #apply(typing) {
        const params = new URLSearchParams();
        for (const [key, value] of new FormData(this.form)) if (String(value).trim()) params.set(key, String(value).trim());
        const chosen = this.params.get("fate");
        if (chosen) params.set("fate", chosen);
        this.#filter(params, typing);
    }

    /** @param {string} name */
    #choose(name) {
        const params = new URLSearchParams(this.params);
        if (name) params.set("fate", name);
        else params.delete("fate");
        this.#filter(params);
    }

    #clear() {
        for (const input of this.form.querySelectorAll("input")) input.value = "";
        this.#filter(new URLSearchParams());
    }

    /** @param {URLSearchParams} params @param {boolean} [typing] */
    #filter(params, typing = false) {
        if (String(params) === String(this.params)) return;
        const more = typing && this.#typing;
        this.#typing = typing;
        this.apply(params, more);
    }

    /** Shows the counts by outcome. @param {Api.Counts} counts */
    count(counts) {
        for (const [name, { count: node }] of this.chips) {
            const value = name ? sum(/** @type {Record<string, any>} */ (counts)[name]) : (counts.total ?? 0);
            if (value !== undefined) node.textContent = compact(value);
            node.title = `${number(value ?? 0)} in all`;
        }
    }

    /** Suggests the values of an event. @param {Api.Event} event */
    seen(event) {
        const values = { topic: event.topic, type: event.type, site: event.site, device: event.device, rule: event.rules?.[0] };
        for (const [key, value] of Object.entries(values)) {
            const known = this.#known.get(key);
            if (!known || !value || known.size >= SUGGESTED || known.has(value) || String(value).length > LONGEST) continue;
            known.add(value);
            this.form.querySelector(`#seen-${key}`)?.append(el("option", { value }));
        }
    }

    /** @param {boolean} paused */
    setPaused(paused) {
        this.pauseButton.replaceChildren(icon(paused ? "play" : "pause"), paused ? "Go on" : "Pause");
        this.pauseButton.classList.toggle("paused", paused);
    }
}

/** A number, or the sum of a map of numbers. @param {number | Record<string, number> | undefined} value */
function sum(value) {
    return value && typeof value === "object" ? Object.values(value).reduce((all, one) => all + one, 0) : value;
}

/** @param {number} value */
function compact(value) {
    return value < 10_000 ? number(value) : value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}
