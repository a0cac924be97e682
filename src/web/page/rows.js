// The rows of Live: a window of at most ROWS events, newest first, with a mark where the stream left some out.

import { el, foreign } from "./dom.js";
import { FATES, fate } from "./fates.js";
import { newer } from "./filter.js";
import { plural } from "./text.js";
import { moment, time } from "./time.js";

/** Maximum number of rows in the page. */
export const ROWS = 300;

/** @typedef {{ nodes: HTMLElement[], older: string | null, left: number, solid: string | null }} Kept Rows while another view is shown. */

export class Rows {
    /** Rows by the IDs of their events. @type {Map<string, HTMLElement>} */
    #nodes = new Map();
    /** From this event on downwards no row is missing. @type {string | null} */
    #solid = null;
    /** Newest event at the last count; it becomes `#solid` at the next one if nothing was left out until then. @type {string | null} */
    #candidate = null;
    /** Number of events above `#solid` without a row. */
    #left = 0;
    /** Start of the next older page; null if nothing older is stored. @type {string | null} */
    older = null;

    /** @param {() => void} fill Loads what is missing. @param {(event: Api.Event) => void} seen Takes each event that gets a row. */
    constructor(fill, seen) {
        this.seen = seen;
        this.list = el("ol", { class: "events", "aria-label": "Events, newest first", "aria-busy": "true" });
        this.gapText = el("span");
        this.gap = el("li", { class: "gap" }, this.gapText, " ", el("button", { type: "button", class: "small", on: { click: fill } }, "load them"));
    }

    get size() {
        return this.#nodes.size;
    }

    /** Whether events are left out. */
    get gaps() {
        return this.#left > 0;
    }

    /** @param {string} id */
    has(id) {
        return this.#nodes.has(id);
    }

    /** All rows, without the mark. */
    get nodes() {
        return /** @type {HTMLElement[]} */ ([...this.list.children]).filter((node) => node !== this.gap);
    }

    clear() {
        this.#nodes.clear();
        this.list.replaceChildren();
    }

    /** Inserts rows of events before a node of the list; at its end without one.
     * @param {Api.Event[]} events @param {Element | null} before */
    insert(events, before) {
        const fresh = document.createDocumentFragment();
        for (const event of events) {
            if (this.#nodes.has(event.id)) continue;
            const node = row(event);
            this.#nodes.set(event.id, node);
            fresh.append(node);
            this.seen(event);
        }
        this.list.insertBefore(fresh, before);
    }

    /** Draws the row of an event anew. @param {Api.Event} event */
    replace(event) {
        const fresh = row(event);
        this.#nodes.get(event.id)?.replaceWith(fresh);
        this.#nodes.set(event.id, fresh);
    }

    /** Shows the new outcome of an event. Its row stays, whatever the filter. @param {Outcome} outcome */
    became({ id, fate: name, why }) {
        const node = this.#nodes.get(id);
        if (!node) return;
        node.className = rowClass(name);
        node.querySelector(".fate")?.replaceWith(fate(name, why));
    }

    /** From the newest of these events on downwards nothing is missing. @param {Api.Event[]} events */
    complete(events) {
        this.#solid = events[0]?.id ?? null;
        this.#candidate = null;
        this.#left = 0;
        this.gap.remove();
    }

    /** Notes that so many events above the complete part have no row. @param {number} count */
    leave(count) {
        this.#left += count;
    }

    /** A count says that nothing is missing: what was shown at the count before is complete. */
    settle() {
        if (this.#left) return;
        this.#solid = this.#candidate ?? this.#solid;
        this.#candidate = /** @type {HTMLElement | null} */ (this.list.firstElementChild)?.dataset.id ?? null;
    }

    /** Marks the place where rows are missing, with their number. */
    mark() {
        if (!this.#left) return this.gap.remove();
        this.gapText.textContent = `${plural(this.#left, "event")} among those above ${this.#left === 1 ? "is" : "are"} not shown:`;
        const solid = this.#row(this.#solid);
        if (this.gap.parentNode !== this.list || this.gap.nextElementSibling !== solid) this.list.insertBefore(this.gap, solid);
    }

    /** Removes rows at the old end; the next older page begins at the last one left. */
    trim() {
        const { list, gap } = this;
        const last = () => /** @type {HTMLElement} */ (list.lastElementChild === gap ? gap.previousElementSibling : list.lastElementChild);
        while (this.size > ROWS) {
            this.#drop(last());
            this.older = last().dataset.id ?? null;
        }
    }

    /** Removes rows at the new end. */
    trimNewest() {
        while (this.size > ROWS) this.#drop(this.nodes[0]);
    }

    /** Joins the newest page of the server to the complete part; where the page does not reach that, it replaces all.
     * @param {Api.Event[]} events @param {string | null} next */
    renew(events, next) {
        const reach = events.findIndex((event) => event.id === this.#solid);
        const solid = reach < 0 ? null : this.#row(this.#solid);
        for (const node of this.nodes) {
            if (node === solid) break;
            if (!newer(node.dataset.id ?? "", events[0].id)) this.#drop(node);
        }
        this.gap.remove();
        this.insert(solid ? events.slice(0, reach) : events, solid);
        if (!solid) this.older = next;
        this.trim();
    }

    /** @returns {Kept} */
    keep() {
        return { nodes: this.nodes, older: this.older, left: this.#left, solid: this.#solid };
    }

    /** @param {Kept} kept */
    restore({ nodes, older, left, solid }) {
        for (const node of nodes) this.#nodes.set(node.dataset.id ?? "", node);
        this.list.append(...nodes);
        this.older = older;
        this.#left = left;
        this.#solid = solid;
        this.mark();
    }

    /** @param {string | null} id */
    #row(id) {
        return (id === null ? null : this.#nodes.get(id)) ?? null;
    }

    /** @param {HTMLElement} node */
    #drop(node) {
        this.#nodes.delete(node.dataset.id ?? "");
        node.remove();
    }
}

/** @param {string} name */
const rowClass = (name) => `row ${FATES.includes(name) ? name : ""}`;

/** One event, on one line where there is room. @param {Api.Event} event */
function row(event) {
    const where = [event.device ?? event.device_mac, event.site].filter(Boolean);
    const at = moment(event.received_at ?? event.at);
    return el("li", { data: { id: event.id }, class: rowClass(event.fate) },
        el("a", { href: `#/event/${encodeURIComponent(event.id)}` },
            el("span", { class: "at" }, at ? time(event.received_at ?? event.at) : "–"),
            fate(event.fate, event.why),
            foreign(event.type || event.topic || "?", { max: 60, class: "type" }),
            el("span", { class: "where" },
                where.map((name, i) => [i ? el("span", { class: "sep" }, " · ") : null, foreign(name, { max: 60 })])),
            el("span", { class: "says" },
                event.rules?.length ? el("b", {}, event.rules.map((rule, i) => [i ? ", " : null, foreign(rule, { max: 60 })]), " ") : null,
                event.text ? foreign(event.text, { max: 160 }) : null)));
}
