// Live: what comes, as it comes, newest first. However much that is, at most ROWS rows are in the page, and at most a
// few are added at a time; what is left out is counted, said where it is missing, and fetched when there is time.

import { ask } from "./api.js";
import { el, foreign, icon, say, trouble } from "./dom.js";
import { FATES, fate } from "./fates.js";
import { number, plural } from "./text.js";
import { moment, time } from "./time.js";

/** The most rows in the page. */
const ROWS = 300;
/** The most rows added at a time, and the least time between. */
const BATCH = 20;
const BETWEEN_MS = 250;
const PAGE = 50;
/** At first no more than there is room for, by the height of a row: the first look is quick. */
const FIRST = () => Math.min(40, Math.max(20, Math.ceil(innerHeight / 36)));
/** How long one waits while empty pages are asked for on the way back, before one must ask again. */
const LOOK_MS = 6_000;
/** The stream tells of so many a second at most, whatever one filters by; beyond, a filtered view asks for what it misses. */
const SAMPLE = 20;
const ASK_MS = 2_000;
/** What the stream left out may be found by a filter a little later only. */
const FOUND_MS = 4_000;

/** What one may filter by, and how it is called. */
const FILTERS = [["topic", "Topic"], ["type", "Type"], ["site", "Site"], ["device", "Device"], ["rule", "Rule"]];
const KEYS = ["q", "fate", ...FILTERS.map(([key]) => key)];

/** Whether an event is one of those asked for, but for its words: those only the server knows how to look for. */
export function fits(event, params) {
    const has = (value, wanted) => String(value ?? "").toLowerCase() === wanted;
    for (const key of KEYS.filter((key) => key !== "q")) {
        const wanted = params.get(key)?.trim().toLowerCase();
        if (!wanted) continue;
        const found = {
            rule: () => (event.rules ?? []).some((rule) => has(rule, wanted)),
            site: () => has(event.site, wanted) || has(event.site_id, wanted),
            device: () => has(event.device, wanted) || mac(event.device_mac) === (mac(wanted) || "-"),
        }[key] ?? (() => has(event[key], wanted));
        if (!found()) return false;
    }
    return true;
}

/** What was shown at entries of the browser's history, by their names: who comes back to one finds it as they left it. */
const places = new Map();
const PLACES = 10;
const newPlace = () => `${performance.timeOrigin}-${performance.now()}`;
history.scrollRestoration = "manual";

/** Whether one event came after another, by their ids. */
function newer(one, other) {
    const [a, b] = [one, other].map((id) => String(id).split(".").map(Number));
    return a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}

const mac = (value) => String(value ?? "").toLowerCase().replace(/[:.-]/g, "");

export function show(root, params, { stream }) {
    const view = new Live(root, new URLSearchParams(KEYS.filter((k) => params.get(k)).map((k) => [k, params.get(k)])), stream);
    const placed = view.begin();
    return { title: "Live", placed, leave: () => view.end() };
}

class Live {
    /** Newest first, not in the page yet. */
    #waiting = [];
    #rows = new Map();
    #paused = false;
    #older = null;
    #reading = false;
    #turn = 0;
    #asked = 0;
    /** Came while held, and is not in `#waiting`. */
    #missed = 0;
    /** Not among the rows though newer than `#solid`: from there on downwards none is missing. */
    #left = 0;
    #solid = null;
    #candidate = null;
    /** What the stream told since the last count, all that came by that count, and by how many it is behind. */
    #heard = 0;
    #total = null;
    #behind = 0;
    #seek = 0;
    /** What is shown is to be asked for anew as soon as nobody reads. */
    #stale = false;
    #loading = false;
    #typing = false;
    /** Events waited because somebody was reading. */
    #kept = false;
    #later = 0;
    #shown = 0;
    #frame = 0;
    #last = 0;
    #timer = 0;
    #ending = new AbortController();

    constructor(root, params, stream) {
        Object.assign(this, { root, params, stream });
    }

    begin() {
        this.root.append(el("h1", { class: "hidden" }, "Live"), this.#bar(), this.#counts(), this.#list());
        const on = { signal: this.#ending.signal };
        this.stream.addEventListener("event", (e) => { this.#heard += 1; this.#take(e.detail); }, on);
        this.stream.addEventListener("fate", (e) => this.#became(e.detail), on);
        this.stream.addEventListener("count", (e) => this.#count(e.detail), on);
        this.stream.addEventListener("link", (e) => this.#linked(e.detail), on);
        document.addEventListener("scroll", () => this.#flushSoon(), { passive: true, ...on });
        this.list.addEventListener("keydown", (e) => this.#move(e), on);
        this.list.addEventListener("focusout", () => this.#flushSoon(), on);
        const there = places.get(history.state?.place);
        this.place = history.state?.place ?? newPlace();
        history.replaceState({ place: this.place }, "");
        if (there?.params === String(this.params)) {
            this.#restore(there);
            return true;
        }
        this.#load();
        return false;
    }

    /** Keeps what is shown, for who comes back; not where they left at the top, for there the newest is. */
    #keep() {
        places.delete(this.place);
        const top = this.list.getBoundingClientRect().top + window.scrollY - 100;
        if (!this.#rows.size || (!this.#reading && window.scrollY < top)) return;
        const rows = [...this.list.children].filter((node) => node !== this.gap);
        const anchor = rows.find((node) => node.getBoundingClientRect().bottom > 60) ?? rows[0];
        const focused = document.activeElement?.closest?.("li");
        places.set(this.place, { params: String(this.params), rows, older: this.#older, left: this.#left, solid: this.#solid, anchor, at: anchor.getBoundingClientRect().top, focused });
        if (places.size > PLACES) places.delete(places.keys().next().value);
    }

    #restore({ rows, older, left, solid, anchor, at, focused }) {
        for (const node of rows) this.#rows.set(node.dataset.id, node);
        this.list.append(...rows);
        this.list.setAttribute("aria-busy", "false");
        this.#older = older;
        this.#left = left;
        this.#solid = solid;
        this.#mark();
        this.#reading = true;
        this.#stale = true;
        this.#moreLabel();
        this.#news();
        // Rows out of sight have a guessed height until they are seen.
        const scroll = (times) => {
            window.scrollBy({ top: anchor.getBoundingClientRect().top - at, behavior: "instant" });
            if (times && !this.#ending.signal.aborted) requestAnimationFrame(() => scroll(times - 1));
        };
        const link = focused && this.list.contains(focused) ? focused.querySelector("a") : null;
        (link ?? document.getElementById("main")).focus({ preventScroll: true });
        scroll(3);
        this.#refresh(rows[0].dataset.id, rows.at(-1).dataset.id).catch(() => {});
    }

    /** What became meanwhile of the events that are shown. */
    async #refresh(first, last) {
        let before = first.replace(/\d+$/, (n) => String(Number(n) + 1));
        while (before && newer(before, last)) {
            const params = new URLSearchParams(this.params);
            params.set("limit", "200");
            params.set("before", before);
            const page = await ask("events", { params, signal: this.#ending.signal });
            for (const event of page.events ?? []) this.#became(event);
            before = page.next;
        }
    }

    end() {
        this.#keep();
        this.#ending.abort();
        cancelAnimationFrame(this.#frame);
        clearTimeout(this.#timer);
        clearTimeout(this.#later);
    }

    // What one sees

    #bar() {
        this.search = el("input", {
            type: "search", id: "q", name: "q", value: this.params.get("q") ?? "", placeholder: "Search words, devices, types …",
            "aria-label": "Search", autocomplete: "off", spellcheck: "false",
        });
        this.pauseButton = el("button", { type: "button", class: "pausing", on: { click: () => this.#pause(!this.#paused) } });
        this.#pauseLabel();
        const fields = FILTERS.map(([key, name]) =>
            el("label", {}, name, el("input", { name: key, value: this.params.get(key) ?? "", list: `seen-${key}`, autocomplete: "off", spellcheck: "false" }),
                el("datalist", { id: `seen-${key}` })));
        const used = FILTERS.filter(([key]) => this.params.get(key));
        const filters = el("details", { class: "filters", open: used.length > 0 },
            el("summary", {}, used.length ? `Filters (${used.length})` : "Filters"),
            el("div", { class: "fields" }, fields,
                el("button", { type: "button", class: "small", on: { click: () => this.#clear() } }, "Clear all")));
        const form = el("form", { role: "search", class: "bar", "aria-label": "Events" },
            el("div", { class: "first" }, this.search, this.pauseButton), filters);
        form.addEventListener("submit", (e) => { e.preventDefault(); this.#apply(form); });
        let soon = 0;
        form.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(() => this.#apply(form, true), 350); });
        form.addEventListener("change", () => { clearTimeout(soon); this.#apply(form, true); this.#typing = false; });
        this.#ending.signal.addEventListener("abort", () => clearTimeout(soon));
        this.form = form;
        return form;
    }

    #counts() {
        this.fates = new Map();
        const chosen = this.params.get("fate") ?? "";
        const buttons = ["", ...FATES].map((name) => {
            const count = el("span", { class: "n" });
            const label = name ? fate(name) : el("span", { class: "fate" }, el("span", {}, "all"));
            const button = el("button", { type: "button", "aria-pressed": String(name === chosen), on: { click: () => this.#choose(name) } }, label, count);
            this.fates.set(name, { button, count });
            return button;
        });
        this.rate = el("p", { class: "rate" });
        return el("div", { class: "counts" }, el("div", { role: "group", "aria-label": "Fate", class: "fates" }, buttons), this.rate);
    }

    #list() {
        this.list = el("ol", { class: "events", "aria-label": "Events, newest first", "aria-busy": "true" });
        this.news = el("button", { type: "button", class: "news", hidden: true, on: { click: () => this.#top() } });
        this.gap = el("li", { class: "gap" }, el("span"), " ", el("button", { type: "button", class: "small", on: { click: () => this.#fill() } }, "load them"));
        this.more = el("button", { type: "button", class: "more", hidden: true, on: { click: () => this.#loadOlder() } }, "Older");
        this.note = el("div", { class: "note" });
        return [this.news, this.list, this.note, this.more].reduce((box, node) => (box.append(node), box), el("section", { "aria-label": "Events" }));
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
            this.#rows.clear();
            this.list.replaceChildren();
            this.#insert(page.events ?? [], null);
            this.#older = page.next ?? null;
            this.#complete(page.events ?? []);
            this.#note(this.#rows.size || this.#waiting.length ? null : page.next ? this.#further() : this.#nothing());
        } catch (error) {
            if (error.name === "AbortError" || turn !== this.#turn) return;
            this.#note(trouble(error, () => this.#load()));
        }
        this.#loading = false;
        this.list.setAttribute("aria-busy", "false");
        this.#moreLabel();
        this.#flushSoon();
    }

    async #loadOlder() {
        if (!this.#older) return;
        this.more.disabled = true;
        try {
            const page = await this.#page(this.#older);
            this.#reading = true;
            const before = this.list.children.length;
            this.#insert(page.events ?? [], null);
            this.#older = page.next ?? null;
            // The first of them is where reading goes on.
            this.list.children[Math.min(before, this.list.children.length - (page.events?.length ?? 0))]?.querySelector("a")?.focus();
            while (this.#rows.size > ROWS) this.#drop(this.list.firstElementChild);
            say(plural(page.events?.length ?? 0, "older event"));
            this.#note(page.events?.length || !page.next ? this.#rows.size ? null : this.#nothing() : this.#further());
            this.#news();
        } catch (error) {
            if (error.name === "AbortError") return;
            this.#note(trouble(error, () => this.#loadOlder()));
        }
        this.more.disabled = false;
        this.#moreLabel();
    }

    #moreLabel() {
        this.more.hidden = !this.#older;
        this.more.textContent = this.note.querySelector(".further") ? "Look further back" : "Older";
    }

    /** A page. The server looks for a moment only: a page may be empty and yet not the last. `wait`: somebody waits, and is told. */
    async #page(before, limit = PAGE, wait = true) {
        const params = new URLSearchParams(this.params);
        params.set("limit", String(limit));
        const turn = this.#turn;
        const begun = performance.now();
        for (;;) {
            if (before) params.set("before", before);
            const page = await ask("events", { params, signal: this.#ending.signal });
            if (page.events?.length || !page.next || turn !== this.#turn || performance.now() - begun > LOOK_MS) return page;
            before = page.next;
            if (wait) this.#note(el("div", { class: "empty" }, el("p", {}, "Still looking, further back …")));
        }
    }

    // What comes

    #take(event) {
        if (!event?.id || !fits(event, this.params)) return;
        // By its words the server finds it, in what the stream does not tell as well.
        if (this.params.get("q") && !this.#rows.has(event.id)) return void this.#catchUp();
        const there = this.#rows.get(event.id);
        if (there) {
            const fresh = row(event);
            there.replaceWith(fresh);
            this.#rows.set(event.id, fresh);
            return;
        }
        this.#waiting.unshift(event);
        if (this.#waiting.length > ROWS) this.#leftOut(this.#waiting.splice(ROWS).length);
        this.#flushSoon();
    }

    /** What became of an event since: its row says so where it stands. It stays, whatever one filters by. */
    #became({ id, fate: name, why }) {
        const waits = this.#waiting.find((event) => event.id === id);
        if (waits) Object.assign(waits, { fate: name, why });
        const node = this.#rows.get(id);
        if (!node) return;
        node.className = `row ${FATES.includes(name) ? name : ""}`;
        node.querySelector(".fate").replaceWith(fate(name, why));
    }

    #flushSoon() {
        if (this.#frame || this.#timer) return;
        const wait = BETWEEN_MS - (performance.now() - this.#last);
        this.#timer = setTimeout(() => {
            this.#timer = 0;
            this.#frame = requestAnimationFrame(() => {
                this.#frame = 0;
                this.#last = performance.now();
                this.#flush();
            });
        }, Math.max(0, wait));
    }

    /** Rows do not move under someone who reads: who scrolled down, who went through them by keyboard. */
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
        this.#insert(batch, this.list.firstElementChild);
        this.#trim();
        this.#mark();
        this.#note(null);
        this.#news();
    }

    /** Puts rows of events before a node of the list; at its end where there is none. */
    #insert(events, before) {
        const fresh = document.createDocumentFragment();
        for (const event of events) {
            if (this.#rows.has(event.id)) continue;
            const node = row(event);
            this.#rows.set(event.id, node);
            fresh.append(node);
            this.#seen(event);
        }
        this.list.insertBefore(fresh, before);
    }

    /** From the newest of these on downwards nothing is missing, and nothing older waits any more. */
    #complete(events) {
        const newest = events[0]?.id ?? null;
        this.#solid = newest;
        this.#candidate = null;
        this.#left = 0;
        this.#missed = 0;
        this.#stale = false;
        this.#waiting = newest ? this.#waiting.filter((event) => newer(event.id, newest)) : this.#waiting;
        this.gap.remove();
    }

    /** So many came and are not shown. */
    #leftOut(count) {
        if (!count) return;
        if (this.#held) this.#missed += count;
        else if (String(this.params)) this.#seek = performance.now() + FOUND_MS;
        else this.#left += count;
    }

    /** Says in the list, where they are missing, how many are. */
    #mark() {
        if (!this.#left) return this.gap.remove();
        const words = `${plural(this.#left, "event")} among those above ${this.#left === 1 ? "is" : "are"} not shown:`;
        this.gap.firstElementChild.textContent = words;
        const solid = this.#rows.get(this.#solid) ?? null;
        if (this.gap.parentNode !== this.list || this.gap.nextElementSibling !== solid) this.list.insertBefore(this.gap, solid);
    }

    /** All there is from now on downwards; it stands still to be read. */
    #fill() {
        this.#reading = true;
        this.#waiting.length = 0;
        document.activeElement?.blur?.();
        window.scrollTo({ top: 0 });
        this.#load();
    }

    /** Takes rows from the old end; reading on begins at the last one left. */
    #trim() {
        const last = () => (this.list.lastElementChild === this.gap ? this.gap.previousElementSibling : this.list.lastElementChild);
        while (this.#rows.size > ROWS) {
            this.#drop(last());
            this.#older = last().dataset.id;
        }
        this.more.hidden = !this.#older;
    }

    #drop(node) {
        this.#rows.delete(node.dataset.id);
        node.remove();
    }

    #news() {
        const count = this.#waiting.length + this.#missed;
        this.news.hidden = count === 0 && !this.#reading;
        // Of what the stream did not tell nobody here knows whether it fits.
        const least = this.#missed && String(this.params) ? "up to " : "";
        const words = count ? `${least}${plural(count, "new event")}${this.#paused ? " while paused" : ""}` : "Reading older ones";
        const label = `${words}: show the newest`;
        if (this.news.textContent !== label) this.news.textContent = label;
    }

    #top() {
        this.#reading = false;
        document.activeElement?.blur?.();
        window.scrollTo({ top: 0 });
        this.#waiting.length = 0;
        if (this.#paused) this.#pause(false);
        this.news.hidden = true;
        this.#load();
    }

    #count(count) {
        const total = count.total ?? 0;
        for (const [name, { count: node }] of this.fates) {
            const value = name ? all(count[name]) : total;
            if (value !== undefined) node.textContent = compact(value);
            node.title = `${number(value ?? 0)} in all`;
        }
        const rate = count.per_second ?? 0;
        const shown = this.#shown;
        this.#shown = 0;
        const sampled = !this.#held && !String(this.params) && rate > SAMPLE && shown < rate * 0.9;
        const words = sampled
            ? `shown ${number(shown)} of ${number(rate)} a second; counted in full`
            : `${number(Math.round(rate * 10) / 10)} a second${String(this.params) ? " in all" : ""}`;
        this.rate.textContent = words;
        this.rate.classList.toggle("sampled", sampled);
        this.#reckon(total, rate);
        const missing = String(this.params) ? rate >= SAMPLE || performance.now() < this.#seek : this.#left > 0 && rate < SAMPLE;
        if (missing) this.#catchUp();
    }

    /** Whether the stream told all that was counted. What was counted just now may be told a moment later. */
    #reckon(total, rate) {
        const came = this.#total === null ? rate : Math.max(0, total - this.#total);
        const before = this.#behind;
        this.#behind = Math.max(0, before + came - this.#heard);
        this.#total = total;
        this.#heard = 0;
        const lost = Math.max(Math.min(before, this.#behind), this.#behind - SAMPLE);
        this.#behind -= lost;
        this.#leftOut(lost);
        if (this.#behind === 0 && this.#left === 0) {
            this.#solid = this.#candidate ?? this.#solid;
            this.#candidate = this.list.firstElementChild?.dataset.id ?? null;
        }
        this.#mark();
        if (lost) this.#news();
    }

    /** What was not among what the stream told. */
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
            const page = await this.#page(null, PAGE, false);
            if (turn === this.#turn && !this.#held && page.events?.length) this.#renew(page);
        } catch {
            // The next one may do; what is shown stays true.
        }
    }

    /** The newest as the server has them, joined to what is complete; where they do not reach it they take its place. */
    #renew({ events, next }) {
        const reach = events.findIndex((event) => event.id === this.#solid);
        const solid = reach < 0 ? null : this.#rows.get(this.#solid) ?? null;
        for (const node of [...this.list.children]) {
            if (node === solid) break;
            if (node !== this.gap && !newer(node.dataset.id, events[0].id)) this.#drop(node);
        }
        this.gap.remove();
        this.#insert(solid ? events.slice(0, reach) : events, solid);
        if (!solid) this.#older = next ?? null;
        this.#complete(events);
        this.#trim();
        this.#flushSoon();
    }

    #linked(state) {
        this.#total = null;
        this.#heard = this.#behind = 0;
        // After a gap what is shown may lack some.
        if (state !== "open") this.lost = true;
        else if (this.lost) {
            this.lost = false;
            this.#stale = true;
            this.#flushSoon();
        }
    }

    // What one does

    #pause(on) {
        this.#paused = on;
        this.#pauseLabel();
        say(on ? "Paused" : "Live again");
        if (!on) this.#flushSoon();
    }

    #pauseLabel() {
        this.pauseButton.replaceChildren(icon(this.#paused ? "play" : "pause"), this.#paused ? "Go on" : "Pause");
        this.pauseButton.classList.toggle("paused", this.#paused);
    }

    #apply(form, typing = false) {
        const data = new FormData(form);
        const params = new URLSearchParams();
        for (const [key, value] of data) if (String(value).trim()) params.set(key, String(value).trim());
        if (this.params.get("fate")) params.set("fate", this.params.get("fate"));
        this.#filter(params, typing);
    }

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

    /** What one types is one step back, however many pauses one makes. */
    #filter(params, typing = false) {
        if (String(params) === String(this.params)) return;
        const address = `#/live${String(params) ? `?${params}` : ""}`;
        if (typing && this.#typing) history.replaceState(history.state, "", address);
        else {
            this.#keep();
            this.place = newPlace();
            history.pushState({ place: this.place }, "", address);
        }
        this.#typing = typing;
        this.params = params;
        this.#waiting.length = 0;
        this.#missed = 0;
        this.#reading = false;
        this.#older = null;
        for (const [name, { button }] of this.fates) button.setAttribute("aria-pressed", String(name === (params.get("fate") ?? "")));
        const used = FILTERS.filter(([key]) => params.get(key)).length;
        this.form.querySelector("summary").textContent = used ? `Filters (${used})` : "Filters";
        this.#load();
    }

    #move(event) {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        const here = event.target.closest?.("li");
        if (!step || !here) return;
        const next = step > 0 ? here.nextElementSibling : here.previousElementSibling;
        if (next) {
            event.preventDefault();
            next.querySelector("a, button").focus();
        }
    }

    #seen(event) {
        const values = { topic: event.topic, type: event.type, site: event.site, device: event.device, rule: event.rules?.[0] };
        for (const [key, value] of Object.entries(values)) {
            const list = this.form.querySelector(`#seen-${key}`);
            const known = (this.known ??= {})[key] ??= new Set();
            if (!value || known.size >= 60 || known.has(value) || String(value).length > 80) continue;
            known.add(value);
            list.append(el("option", { value }));
        }
    }

    #note(node) {
        this.note.replaceChildren(...(node ? [node] : []));
    }

    #further() {
        return el("div", { class: "empty further" }, el("p", {}, this.#rows.size ? "Nothing more so far" : "Nothing found so far", ". What is older has not been looked through yet."));
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

/** A number, or the sum of a map of them. */
function all(value) {
    return value && typeof value === "object" ? Object.values(value).reduce((sum, one) => sum + one, 0) : value;
}

function compact(value) {
    return value < 10_000 ? number(value) : value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

/** One event, on one line where there is room. */
function row(event) {
    const where = [event.device ?? event.device_mac, event.site].filter(Boolean);
    const at = moment(event.received_at ?? event.at);
    return el("li", { data: { id: String(event.id) }, class: `row ${FATES.includes(event.fate) ? event.fate : ""}` },
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
