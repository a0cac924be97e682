// Live: events as they come, newest first. However many that is, at most ROWS rows (rows.js) are in the page, and at most a few
// are added at a time; what is left out is counted (tally.js), said where it is missing, and loaded when there is time.

import { aborted, ask } from "./api.js";
import { Bar } from "./bar.js";
import { byId, el, say, trouble } from "./dom.js";
import { fits, KEYS, newer } from "./filter.js";
import { ROWS, Rows } from "./rows.js";
import { SAMPLE, Tally } from "./tally.js";
import { number, plural } from "./text.js";

/** Maximum number of rows added at a time, and the least time between. */
const BATCH = 20;
const BETWEEN_MS = 250;
const PAGE = 50;
/** At first no more rows than there is room for, by the height of a row: the first look is quick. */
const FIRST = () => Math.min(40, Math.max(20, Math.ceil(innerHeight / 36)));
/** How long empty pages are asked for on the way back, before the button must be pressed again. */
const LOOK_MS = 6_000;
/** Least time between two questions for what a filtered view misses. */
const ASK_MS = 2_000;
/** What the stream left out may be found by a filter a little later only. */
const FOUND_MS = 4_000;

/**
 * What was shown at entries of the browser's history, by their names: who comes back to one finds it as they left it.
 * @typedef {import("./rows.js").Kept & { params: string, anchor: HTMLElement, at: number, focused: Element | null }} Place
 */
/** @type {Map<string, Place>} */
const places = new Map();
const PLACES = 10;
const newPlace = () => `${performance.timeOrigin}-${performance.now()}`;
history.scrollRestoration = "manual";

/** @type {Show} */
export function show(root, params, { stream }) {
    const view = new Live(root, new URLSearchParams(KEYS.map((key) => [key, params.get(key) ?? ""]).filter(([, value]) => value)), stream);
    const placed = view.begin();
    return { title: "Live", placed, leave: () => view.end() };
}

class Live {
    /** Events without a row yet, newest first. @type {Api.Event[]} */
    #waiting = [];
    /** Events that came while rows were held, and are not in `#waiting`. */
    #missed = 0;
    /** Events waited because somebody was reading. */
    #kept = false;
    /** All rows are to be loaded anew as soon as nobody reads. */
    #stale = false;
    #paused = false;
    /** Somebody went to older rows. */
    #reading = false;
    #loading = false;
    /** The link was lost since the rows were loaded. */
    #lost = false;
    /** Sequence number of the newest load: answers to older ones are dropped. */
    #turn = 0;
    /** When `#catchUp` asked last, and its timer; until when a filtered view looks for what the stream left out. */
    #asked = 0;
    #later = 0;
    #seek = 0;
    /** Rows added since the last count. */
    #shown = 0;
    #tally = new Tally();
    #ending = new AbortController();
    #pace = new Pace(() => this.#flush(), this.#ending.signal);
    #place = history.state?.place ?? newPlace();

    /** @param {HTMLElement} root @param {URLSearchParams} params @param {LiveStream} stream */
    constructor(root, params, stream) {
        this.root = root;
        this.params = params;
        this.stream = stream;
        this.bar = new Bar(params, (next, more) => this.#filter(next, more), () => this.#pause(!this.#paused), this.#ending.signal);
        this.rows = new Rows(() => this.#fill(), (event) => this.bar.seen(event));
        this.list = this.rows.list;
        this.news = el("button", { type: "button", class: "news", hidden: true, on: { click: () => this.#top() } });
        this.more = el("button", { type: "button", class: "more", hidden: true, on: { click: () => this.#loadOlder() } }, "Older");
        this.note = el("div", { class: "note" });
    }

    /** Draws it. Returns whether it was restored where it was left. */
    begin() {
        this.root.append(el("h1", { class: "hidden" }, "Live"), this.bar.form, this.bar.counts,
            el("section", { "aria-label": "Events" }, this.news, this.list, this.note, this.more));
        const on = { signal: this.#ending.signal };
        this.stream.addEventListener("event", (e) => { this.#tally.hear(); this.#take(e.detail); }, on);
        this.stream.addEventListener("fate", (e) => this.#became(e.detail), on);
        this.stream.addEventListener("count", (e) => this.#count(e.detail), on);
        this.stream.addEventListener("link", (e) => this.#linked(e.detail), on);
        document.addEventListener("scroll", () => this.#pace.soon(), { passive: true, ...on });
        this.list.addEventListener("keydown", (e) => move(e), on);
        this.list.addEventListener("focusout", () => this.#pace.soon(), on);
        const there = places.get(this.#place);
        history.replaceState({ place: this.#place }, "");
        if (there?.params === String(this.params)) {
            this.#restore(there);
            return true;
        }
        this.#load();
        return false;
    }

    end() {
        this.#keep();
        this.#ending.abort();
        clearTimeout(this.#later);
    }

    // Places in the browser's history

    /** Keeps the rows for who comes back, unless they left at the top: the newest rows are there. */
    #keep() {
        places.delete(this.#place);
        const top = this.list.getBoundingClientRect().top + window.scrollY - 100;
        if (!this.rows.size || (!this.#reading && window.scrollY < top)) return;
        const kept = this.rows.keep();
        const anchor = kept.nodes.find((node) => node.getBoundingClientRect().bottom > 60) ?? kept.nodes[0];
        const focused = document.activeElement?.closest("li") ?? null;
        places.set(this.#place, { ...kept, params: String(this.params), anchor, at: anchor.getBoundingClientRect().top, focused });
        for (const oldest of [...places.keys()].slice(0, -PLACES)) places.delete(oldest);
    }

    /** @param {Place} place */
    #restore(place) {
        const { nodes, anchor, at, focused } = place;
        this.rows.restore(place);
        this.list.setAttribute("aria-busy", "false");
        this.#reading = true;
        this.#stale = true;
        this.#moreLabel();
        this.#news();
        // Rows out of sight have a guessed height until they are seen.
        const scroll = (/** @type {number} */ times) => {
            window.scrollBy({ top: anchor.getBoundingClientRect().top - at, behavior: "instant" });
            if (times && !this.#ending.signal.aborted) requestAnimationFrame(() => scroll(times - 1));
        };
        const link = focused && this.list.contains(focused) ? focused.querySelector("a") : null;
        (link ?? byId("main")).focus({ preventScroll: true });
        scroll(3);
        this.#refresh(nodes[0].dataset.id ?? "", nodes.at(-1)?.dataset.id ?? "").catch(() => {});
    }

    /** Loads the outcomes of the rows that were restored. @param {string} first @param {string} last */
    async #refresh(first, last) {
        /** @type {string | null} */
        let before = first.replace(/\d+$/, (n) => String(Number(n) + 1));
        while (before && newer(before, last)) {
            const params = new URLSearchParams(this.params);
            params.set("limit", "200");
            params.set("before", before);
            /** @type {Api.Answer<"GET", "events">} */
            const page = await ask("events", { params, signal: this.#ending.signal });
            for (const event of page.events ?? []) this.#became(event);
            before = page.next;
        }
    }

    // What was stored

    async #load() {
        this.list.setAttribute("aria-busy", "true");
        const turn = ++this.#turn;
        this.#loading = true;
        this.#stale = false;
        this.#missed = 0;
        try {
            const page = await this.#page(null, FIRST());
            if (turn !== this.#turn) return;
            this.rows.clear();
            this.rows.insert(page.events ?? [], null);
            this.rows.older = page.next ?? null;
            this.#complete(page.events ?? []);
            this.#note(this.rows.size || this.#waiting.length ? null : page.next ? this.#further() : this.#nothing());
        } catch (error) {
            if (aborted(error) || turn !== this.#turn) return;
            this.#note(trouble(error, () => this.#load()));
        }
        this.#loading = false;
        this.list.setAttribute("aria-busy", "false");
        this.#moreLabel();
        this.#pace.soon();
    }

    async #loadOlder() {
        if (!this.rows.older) return;
        this.more.disabled = true;
        try {
            const { events = [], next } = await this.#page(this.rows.older);
            this.#reading = true;
            const before = this.list.children.length;
            this.rows.insert(events, null);
            this.rows.older = next ?? null;
            // The first of them is where reading goes on.
            this.list.children[Math.min(before, this.list.children.length - events.length)]?.querySelector("a")?.focus();
            this.rows.trimNewest();
            say(plural(events.length, "older event"));
            this.#note(events.length || !next ? this.rows.size ? null : this.#nothing() : this.#further());
            this.#news();
        } catch (error) {
            if (aborted(error)) return;
            this.#note(trouble(error, () => this.#loadOlder()));
        }
        this.more.disabled = false;
        this.#moreLabel();
    }

    /** A page. The server looks for a moment only: a page may be empty and yet not the last.
     * @param {string | null} before @param {number} [limit] @param {boolean} [wait] Somebody waits, and sees that it is being looked for. */
    async #page(before, limit = PAGE, wait = true) {
        const params = new URLSearchParams(this.params);
        params.set("limit", String(limit));
        const turn = this.#turn;
        const begun = performance.now();
        for (;;) {
            if (before) params.set("before", before);
            /** @type {Api.Answer<"GET", "events">} */
            const page = await ask("events", { params, signal: this.#ending.signal });
            if (page.events?.length || !page.next || turn !== this.#turn || performance.now() - begun > LOOK_MS) return page;
            before = page.next;
            if (wait) this.#note(el("div", { class: "empty" }, el("p", {}, "Still looking, further back …")));
        }
    }

    /** From the newest of these events on downwards nothing is missing, and nothing older waits. @param {Api.Event[]} events */
    #complete(events) {
        this.rows.complete(events);
        this.#missed = 0;
        this.#stale = false;
        const newest = events[0]?.id;
        if (newest) this.#waiting = this.#waiting.filter((event) => newer(event.id, newest));
    }

    // What comes

    /** @param {Api.Event} event */
    #take(event) {
        if (!event?.id || !fits(event, this.params)) return;
        // Only the server finds events by words, those the stream does not send as well.
        if (this.params.get("q") && !this.rows.has(event.id)) return void this.#catchUp();
        if (this.rows.has(event.id)) return this.rows.replace(event);
        this.#waiting.unshift(event);
        if (this.#waiting.length > ROWS) this.#leftOut(this.#waiting.splice(ROWS).length);
        this.#pace.soon();
    }

    /** @param {Outcome} outcome */
    #became(outcome) {
        const waits = this.#waiting.find((event) => event.id === outcome.id);
        if (waits) Object.assign(waits, { fate: outcome.fate, why: outcome.why });
        this.rows.became(outcome);
    }

    /** Whether rows stand still under someone who reads: who scrolled down, who went through them by keyboard. */
    get #held() {
        const top = this.list.getBoundingClientRect().top;
        return this.#paused || this.#reading || top < -40 || this.list.contains(document.activeElement);
    }

    #flush() {
        if (this.#loading) return;
        if (this.#waiting.length === 0 && !this.#stale && !this.#missed) return this.#news();
        if (this.#held) {
            this.#kept = true;
            return this.#news();
        }
        // More than goes in at a time has piled up meanwhile: no gap is left in the middle of the list.
        const piled = this.#stale || this.#missed > 0 || (this.#kept && this.#waiting.length > BATCH);
        this.#kept = false;
        if (piled) {
            this.#load();
            return this.#news();
        }
        const batch = this.#waiting.splice(0, BATCH);
        this.#leftOut(this.#waiting.splice(0).length);
        this.#shown += batch.length;
        this.rows.insert(batch, this.list.firstElementChild);
        this.rows.trim();
        this.more.hidden = !this.rows.older;
        this.rows.mark();
        this.#note(null);
        this.#news();
    }

    /** So many events came and have no row. @param {number} count */
    #leftOut(count) {
        if (!count) return;
        if (this.#held) this.#missed += count;
        else if (String(this.params)) this.#seek = performance.now() + FOUND_MS;
        else this.rows.leave(count);
    }

    /** @param {Api.Counts} count */
    #count(count) {
        this.bar.count(count);
        const rate = count.per_second ?? 0;
        this.#rate(rate);
        const lost = this.#tally.count(count.total ?? 0, rate);
        this.#leftOut(lost);
        if (this.#tally.even) this.rows.settle();
        this.rows.mark();
        if (lost) this.#news();
        const filtered = String(this.params) !== "";
        const missing = filtered ? rate >= SAMPLE || performance.now() < this.#seek : this.rows.gaps && rate < SAMPLE;
        if (missing) this.#catchUp();
    }

    /** Says how many events come, and how many of them are shown. @param {number} rate */
    #rate(rate) {
        const shown = this.#shown;
        this.#shown = 0;
        const filtered = String(this.params) !== "";
        const sampled = !this.#held && !filtered && rate > SAMPLE && shown < rate * 0.9;
        this.bar.rate.textContent = sampled
            ? `shown ${number(shown)} of ${number(rate)} a second; counted in full`
            : `${number(Math.round(rate * 10) / 10)} a second${filtered ? " in all" : ""}`;
        this.bar.rate.classList.toggle("sampled", sampled);
    }

    /** Loads what the stream left out. */
    async #catchUp() {
        if (this.#held || this.#ending.signal.aborted) return;
        const wait = ASK_MS - (performance.now() - this.#asked);
        if (wait > 0) {
            this.#later ||= setTimeout(() => { this.#later = 0; this.#catchUp(); }, wait);
            return;
        }
        this.#asked = performance.now();
        const turn = this.#turn;
        try {
            const { events, next } = await this.#page(null, PAGE, false);
            if (turn !== this.#turn || this.#held || !events?.length) return;
            this.rows.renew(events, next ?? null);
            this.#complete(events);
            this.more.hidden = !this.rows.older;
            this.#pace.soon();
        } catch {
            // The next one may do; what is shown stays true.
        }
    }

    /** @param {"open" | "lost" | "asleep"} state */
    #linked(state) {
        this.#tally.reset();
        // After a gap of the link rows may be missing.
        if (state !== "open") this.#lost = true;
        else if (this.#lost) {
            this.#lost = false;
            this.#stale = true;
            this.#pace.soon();
        }
    }

    // What one does

    /** @param {boolean} on */
    #pause(on) {
        this.#paused = on;
        this.bar.setPaused(on);
        say(on ? "Paused" : "Live again");
        if (!on) this.#pace.soon();
    }

    /** Filters anew: one step of the browser's history, however often one pauses while typing.
     * @param {URLSearchParams} params @param {boolean} more */
    #filter(params, more) {
        const address = `#/live${String(params) ? `?${params}` : ""}`;
        if (more) history.replaceState(history.state, "", address);
        else {
            this.#keep();
            this.#place = newPlace();
            history.pushState({ place: this.#place }, "", address);
        }
        this.params = params;
        this.bar.show(params);
        this.#waiting.length = 0;
        this.#missed = 0;
        this.#reading = false;
        this.rows.older = null;
        this.#load();
    }

    /** Loads all there is; it stands still to be read. */
    #fill() {
        this.#reading = true;
        this.#fromTop();
    }

    /** Goes back to the newest. */
    #top() {
        this.#reading = false;
        if (this.#paused) this.#pause(false);
        this.news.hidden = true;
        this.#fromTop();
    }

    #fromTop() {
        this.#waiting.length = 0;
        if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
        window.scrollTo({ top: 0 });
        this.#load();
    }

    // What is said beside the rows

    #moreLabel() {
        this.more.hidden = !this.rows.older;
        this.more.textContent = this.note.querySelector(".further") ? "Look further back" : "Older";
    }

    #news() {
        const count = this.#waiting.length + this.#missed;
        this.news.hidden = count === 0 && !this.#reading;
        // Nobody here knows whether what the stream left out passes the filter.
        const least = this.#missed && String(this.params) ? "up to " : "";
        const words = count ? `${least}${plural(count, "new event")}${this.#paused ? " while paused" : ""}` : "Reading older ones";
        const label = `${words}: show the newest`;
        if (this.news.textContent !== label) this.news.textContent = label;
    }

    /** @param {Node | null} node */
    #note(node) {
        this.note.replaceChildren(...(node ? [node] : []));
    }

    #further() {
        return el("div", { class: "empty further" }, el("p", {}, this.rows.size ? "Nothing more so far" : "Nothing found so far", ". What is older has not been looked through yet."));
    }

    #nothing() {
        const filtered = String(this.params) !== "";
        return el("div", { class: "empty" },
            el("p", {}, filtered ? "Nothing stored fits this." : "Nothing has come yet."),
            el("p", {}, filtered
                ? "Words match from their beginning; the other filters match whole values."
                : ["Point a Mist webhook at ", el("code", {}, "POST /mist"), " of this server. How it looks when something comes, ", el("code", {}, "foghorn demo"), " shows on a server of its own."]));
    }
}

/** Runs a task in a frame of the browser, soon after it is wanted and at most every BETWEEN_MS. */
class Pace {
    #timer = 0;
    #frame = 0;
    #last = 0;

    /** @param {() => void} task @param {AbortSignal} signal */
    constructor(task, signal) {
        this.task = task;
        signal.addEventListener("abort", () => {
            clearTimeout(this.#timer);
            cancelAnimationFrame(this.#frame);
        });
    }

    soon() {
        if (this.#frame || this.#timer) return;
        this.#timer = setTimeout(() => this.#draw(), Math.max(0, BETWEEN_MS - (performance.now() - this.#last)));
    }

    #draw() {
        this.#timer = 0;
        this.#frame = requestAnimationFrame(() => {
            this.#frame = 0;
            this.#last = performance.now();
            this.task();
        });
    }
}

/** Moves through the rows by the arrow keys. @param {KeyboardEvent} event */
function move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const here = event.target instanceof Element ? event.target.closest("li") : null;
    const next = step === 1 ? here?.nextElementSibling : step === -1 ? here?.previousElementSibling : null;
    if (!next) return;
    event.preventDefault();
    /** @type {HTMLElement | null} */ (next.querySelector("a, button"))?.focus();
}
