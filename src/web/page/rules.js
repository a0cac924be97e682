// Rules: the file as it stands, what is wrong with it, what its tests say; and a change to it, tried before it is applied.

import { aborted, ask, me, Problem, statusOf } from "./api.js";
import { when } from "./chart.js";
import { unified } from "./diff.js";
import { el, foreign, icon, say, spell, trouble, words } from "./dom.js";
import { copyButton, table } from "./pieces.js";
import { asText, number, plural } from "./text.js";
import { time } from "./time.js";

/**
 * @typedef {Api.Answer<"GET", "rules">} Sheet The file, its problems and its tests.
 * @typedef {Pick<Sheet, "text" | "version">} Base The version of the file a text was made from.
 * @typedef {Pick<Sheet, "problems" | "tests"> & { tests_ms?: number }} Findings
 * @typedef {"trying" | "seen" | "failed"} Tried
 * @typedef {Findings & { text: string, past?: Tried | null }} Checked A text, what was found in it, and whether it was tried.
 * @typedef {Api.Answer<"POST", "replay-diff">} Past
 */

const MOST_ROWS = 20;
/** How long it waits where the server tries another text. */
const BUSY_MS = 1_500;

/** What somebody wrote and did not apply: kept while this page is open, whichever view is shown. @type {{ text: string, base: Base } | null} */
let draft = null;

window.addEventListener("beforeunload", (event) => {
    if (draft !== null) event.preventDefault();
});

/** @type {Show} */
export function show(root, params) {
    const ending = new AbortController();
    const { signal } = ending;
    const box = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Reading …"));
    root.append(el("h1", {}, "Rules"), box);
    /** @type {Rules | null} */
    let rules = null;
    const load = async (/** @type {Node | null} */ after = null) => {
        rules?.stop();
        const sheet = await ask("rules", { signal }).catch((error) => {
            if (!aborted(error)) box.replaceChildren(trouble(error, () => load()));
            return null;
        });
        box.setAttribute("aria-busy", "false");
        if (!sheet) return;
        rules = new Rules(sheet, load, signal);
        box.replaceChildren(...rules.nodes());
        rules.begin(after, Number(params.get("line")));
    };
    load();
    return {
        title: "Rules",
        leave: () => {
            ending.abort();
            rules?.stop();
        },
    };
}

/** The file as it was loaded, and what is written and tried from it. */
class Rules {
    /** Ends the comparison that is under way. @type {AbortController | null} */
    #trying = null;
    /** @type {Checked | null} */
    #checked = null;
    /** What the problems and tests on the page are of. @type {Findings | null} */
    #shown = null;
    /** Label of the button while it is busy. @type {string | null} */
    #working = null;

    area = el("textarea", {
        id: "rules-text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off", rows: 24,
        "aria-describedby": "rules-hint",
    });
    gutter = el("pre", { class: "gutter", "aria-hidden": "true" });
    check = el("button", { type: "button", on: { click: () => this.#check() } }, "Check");
    apply = el("button", { type: "button", disabled: true, "aria-describedby": "apply-why", on: { click: () => this.#apply() } }, "Apply");
    undo = el("button", { type: "button", class: "small", on: { click: () => this.#undo() } }, "Undo my changes");
    despite = el("input", { type: "checkbox", on: { change: () => this.#allow() } });
    despiteLabel = el("label", { class: "check", hidden: true }, this.despite, " Apply although tests fail");
    unseen = el("input", { type: "checkbox", on: { change: () => this.#allow() } });
    unseenLabel = el("label", { class: "check", hidden: true }, this.unseen, " Apply without having seen the last 7 days");
    why = el("p", { class: "quiet", id: "apply-why", role: "status" });
    problems = el("section", { "aria-labelledby": "h-problems" });
    tests = el("section", { "aria-labelledby": "h-tests" });
    past = el("section", { "aria-labelledby": "h-past", "aria-live": "polite" });
    change = el("section", { "aria-labelledby": "h-change" });
    outcome = el("div", { role: "status" });

    /** @param {Sheet} sheet @param {(after?: Node | null) => void} load Loads all anew. @param {AbortSignal} signal */
    constructor(sheet, load, signal) {
        this.sheet = sheet;
        this.load = load;
        this.signal = signal;
        // A text made from another version is not silently put on top of this one.
        this.base = draft?.base ?? { text: sheet.text, version: sheet.version };
        this.area.value = draft?.text ?? sheet.text;
        this.area.readOnly = !this.may;
        this.area.addEventListener("input", () => this.#changed());
        this.area.addEventListener("scroll", () => (this.gutter.scrollTop = this.area.scrollTop));
        this.area.addEventListener("keydown", (event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
            event.preventDefault();
            if (!this.check.disabled) this.#check();
        });
    }

    /** Shows what is known of it, once it is in the page. @param {Node | null} after What came of applying it. @param {number} line */
    begin(after, line) {
        if (after) this.outcome.replaceChildren(after);
        else if (this.overtaken) this.#overtaken();
        this.#findings(this.sheet);
        this.#changed();
        if (line > 0) this.#go(line);
    }

    stop() {
        this.#trying?.abort();
    }

    get may() {
        return this.sheet.edit && Boolean(me.can_act);
    }

    nodes() {
        const { sheet } = this;
        return [
            el("dl", { class: "facts" },
                el("div", {}, el("dt", {}, "File"), el("dd", {}, foreign(sheet.file))),
                el("div", {}, el("dt", {}, "In force since"), el("dd", {}, time(sheet.loaded_at, { whole: true })))),
            sheet.differs ? el("p", { class: "explain" }, icon("bad"), el("span", {}, "The file is not what is in force: it has changed since it was loaded, or it has problems.")) : null,
            this.may ? null : el("p", { class: "explain" }, icon("look"), el("span", {}, this.#why())),
            this.outcome,
            el("label", { for: "rules-text", class: "text-label" }, this.may ? "The rules, to edit" : "The rules"),
            el("div", { class: "editor" }, this.gutter, this.area),
            el("p", { class: "quiet", id: "rules-hint" }, this.#hint()),
            this.may ? this.#buttons() : null,
            this.problems, this.tests, this.past, this.change,
        ].filter((node) => node !== null);
    }

    #why() {
        if (!this.sheet.edit) return ["Only to look at: ", words(this.sheet.why_not)];
        return "Only to look at: whoever you are here may not change anything.";
    }

    #hint() {
        const hides = /<hidden \d+>/.test(this.sheet.text);
        if (!this.may) return hides ? "Secrets are hidden." : "";
        return `${hides ? "Server, sources and destinations are changed in the file itself: leave them, and each <hidden …>, as they are. " : ""}Ctrl+Enter checks.`;
    }

    #buttons() {
        return el("div", { class: "acts" }, this.check, this.apply, this.undo, this.despiteLabel, this.unseenLabel, this.why);
    }

    /** Whether the file is another than the one this text was made from. */
    get overtaken() {
        return this.base.version !== this.sheet.version;
    }

    /** Whether there is anything to apply. */
    get differs() {
        return this.area.value !== this.sheet.text || this.sheet.differs;
    }

    #changed() {
        const text = this.area.value;
        draft = this.may && (text !== this.sheet.text || this.overtaken) ? { text, base: this.base } : null;
        this.#number();
        if (this.may) {
            this.undo.hidden = draft === null;
            this.#allow();
        }
        if (this.#checked?.text === text) return;
        this.change.replaceChildren();
        // What is tried is no longer what stands here.
        if (this.#checked?.past === "trying") {
            this.#checked.past = null;
            this.stop();
            this.past.replaceChildren();
        }
    }

    #number() {
        const marked = new Set((this.#shown?.problems ?? []).map((p) => p.line));
        const count = this.area.value.split("\n").length;
        this.gutter.textContent = Array.from({ length: count }, (_, i) => `${marked.has(i + 1) ? "! " : ""}${i + 1}`).join("\n");
        this.gutter.scrollTop = this.area.scrollTop;
    }

    /** Apply is for exactly the text that was checked and tried. */
    #allow() {
        const checked = this.#checked;
        const same = checked?.text === this.area.value ? checked : null;
        const errors = same?.problems.some((p) => p.severity === "error") ?? false;
        const failing = same?.tests.filter((t) => !t.passed).length ?? 0;
        const unseen = same !== null && !errors && same.past !== "seen";
        this.despiteLabel.hidden = !failing || errors;
        this.unseenLabel.hidden = !unseen;
        const why = this.#working ? "" : this.overtaken ? "The file has changed: take that change in first." : !this.differs ? "Nothing is changed." : !same ? "Check it first." : errors ? "It has errors."
            : failing && !this.despite.checked ? `${plural(failing, "test")} would fail.`
            : unseen && !this.unseen.checked ? PAST[same.past ?? "none"] : "";
        this.apply.disabled = Boolean(this.#working || why);
        if (this.why.textContent !== why) this.why.textContent = why;
    }

    #undo() {
        if (!window.confirm("Drop what you changed?")) return;
        draft = null;
        this.load();
    }

    /** @param {number} line */
    #go(line) {
        const lines = this.area.value.split("\n");
        const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
        this.area.focus();
        this.area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
        const height = this.area.scrollHeight / Math.max(1, lines.length);
        this.area.scrollTop = Math.max(0, (line - 4) * height);
        this.area.scrollIntoView({ block: "nearest" });
    }

    async #check() {
        const text = this.area.value;
        this.#trying?.abort();
        this.#checked = null;
        this.#busy("Checking …");
        this.outcome.replaceChildren();
        this.past.replaceChildren();
        try {
            const said = await ask("rules/check", { method: "POST", body: { text }, signal: this.signal });
            const checked = { text, ...said };
            this.#checked = checked;
            this.despite.checked = this.unseen.checked = false;
            this.#findings(said);
            const errors = said.problems.filter((p) => p.severity === "error").length;
            say(errors ? plural(errors, "error") : `No errors; ${passed(said)}`);
            this.#what(text);
            if (!errors && this.area.value === text) this.#compare(checked);
        } catch (error) {
            if (!aborted(error)) this.outcome.replaceChildren(trouble(error, () => this.#check()));
        }
        this.#busy(null);
    }

    /** @param {string | null} text */
    #busy(text) {
        this.#working = text;
        this.check.disabled = Boolean(text);
        this.check.textContent = text ?? "Check";
        this.#allow();
    }

    /** What the checked text would have told. One at a time, and nothing of one that is not wanted any more. @param {Checked} checked */
    async #compare(checked) {
        this.#trying?.abort();
        const trying = new AbortController();
        this.#trying = trying;
        const put = (/** @type {Tried} */ state, /** @type {(Node | null)[]} */ ...nodes) => {
            checked.past = state;
            this.past.replaceChildren(heading("h-past", "The last 7 days"), ...nodes.filter((node) => node !== null));
            this.#allow();
        };
        put("trying", el("p", { class: "quiet" }, "Trying it on what came …"));
        try {
            const said = await this.#tried(checked.text, trying.signal);
            if (!trying.signal.aborted) put("seen", ...past(said));
        } catch (error) {
            if (trying.signal.aborted || aborted(error)) return;
            put("failed", trouble(error, () => this.#compare(checked)));
        }
    }

    /** The server tries one text at a time, whoever asks: it is asked again until it is our turn.
     * @param {string} text @param {AbortSignal} signal @returns {Promise<Past>} */
    async #tried(text, signal) {
        for (;;) {
            try {
                return await ask("replay-diff", { method: "POST", body: { text, since: "7d" }, signal });
            } catch (error) {
                if (statusOf(error) !== 503 || !/under way/.test(String(error))) throw error;
            }
            const quiet = this.past.querySelector(".quiet");
            if (quiet) quiet.textContent = "Another text is being tried; this one is next …";
            await new Promise((done) => { setTimeout(done, BUSY_MS); });
            signal.throwIfAborted();
        }
    }

    async #apply() {
        const text = this.area.value;
        this.#busy("Applying …");
        try {
            const said = await ask("rules", { method: "PUT", body: { text, version: this.base.version, despite_tests: this.despite.checked }, signal: this.signal });
            draft = null;
            const warned = said.problems.length ? ` ${plural(said.problems.length, "warning")}.` : "";
            say("Applied");
            const well = el("p", { class: "well" }, icon("fine"), el("span", {}, "Applied: the rules are in force.", warned, " What stood there before is in ", foreign(`${this.sheet.file}.previous`), "."));
            return this.load(well);
        } catch (error) {
            if (aborted(error)) return;
            this.#refused(error);
        }
        this.#busy(null);
    }

    /** @param {unknown} error */
    #refused(error) {
        const said = error instanceof Problem ? error.said : null;
        if (said?.problems && this.#checked) {
            Object.assign(this.#checked, { problems: said.problems, tests: said.tests ?? [] });
            this.#findings(this.#checked);
        }
        if (statusOf(error) === 409) return this.#meanwhile();
        this.outcome.replaceChildren(trouble(error));
        this.outcome.scrollIntoView({ block: "nearest" });
    }

    /** Somebody else changed the file: what they changed is looked at before anything is put on top of it. */
    async #meanwhile() {
        try {
            this.sheet = await ask("rules", { signal: this.signal });
            this.#overtaken();
        } catch (error) {
            if (!aborted(error)) this.outcome.replaceChildren(trouble(error, () => this.#meanwhile()));
        }
        this.#changed();
        this.#busy(null);
    }

    #overtaken() {
        const drop = () => {
            draft = null;
            this.load();
        };
        const goOn = () => {
            this.base = { text: this.sheet.text, version: this.sheet.version };
            this.#checked = null;
            this.outcome.replaceChildren(el("p", { class: "explain" }, icon("look"), el("span", {}, "Your text now stands against the file as it is. Check it: “What changes” shows what it would undo.")));
            this.#changed();
            this.check.focus();
        };
        const small = (/** @type {string} */ text, /** @type {() => void} */ click) => el("button", { type: "button", class: "small", on: { click } }, text);
        this.outcome.replaceChildren(
            trouble({ message: "The file has changed meanwhile", help: "your text is kept" }),
            el("h2", {}, "What was changed there"), changes(unified(this.base.text, this.sheet.text), "What was changed there, line by line"),
            el("p", { class: "acts" }, small("Go on with my text, against the file as it is", goOn), copyButton("Copy my text", () => this.area.value),
                small("Load the file anew, without my changes", drop)));
        this.outcome.scrollIntoView({ block: "nearest" });
    }

    /** @param {Findings} found */
    #findings(found) {
        this.#shown = found;
        this.#number();
        const worst = [...found.problems].sort((a, b) => (a.severity === "error" ? 0 : 1) - (b.severity === "error" ? 0 : 1) || a.line - b.line);
        const one = (/** @type {Api.RuleProblem} */ p) => el("li", {},
            el("span", { class: `severity ${p.severity === "error" ? "critical" : "warning"}` }, icon("bad"), p.severity), " ",
            p.line > 0 ? el("button", { type: "button", class: "small", on: { click: () => this.#go(p.line) } }, `Line ${p.line}`) : null, " ",
            words(p.message), p.help ? el("span", { class: "quiet" }, " (", words(p.help), ")") : null);
        this.problems.replaceChildren(heading("h-problems", "Problems"),
            worst.length ? el("ul", { class: "findings" }, worst.map(one)) : el("p", { class: "well" }, icon("fine"), "None."));
        const failing = found.tests.filter((t) => !t.passed);
        const fine = found.tests.filter((t) => t.passed);
        const test = (/** @type {Api.RuleTest} */ t) => el("li", {},
            el("span", { class: `state ${t.passed ? "fine" : "bad"}` }, icon(t.passed ? "fine" : "off"), t.passed ? "passed" : "failed"), " ",
            el("button", { type: "button", class: "small", on: { click: () => this.#go(t.line) } }, `Line ${t.line}`), " ", foreign(t.name),
            t.text ? el("pre", { tabindex: "0", role: "region", "aria-label": `What went wrong in line ${t.line}` }, lines(t.text)) : null);
        this.tests.replaceChildren(heading("h-tests", "Tests"),
            el("p", {}, passed(found), found.tests.length ? el("span", { class: "quiet" }, `, in ${number(found.tests_ms ?? 0)} ms`) : ""),
            failing.length ? el("ul", { class: "findings" }, failing.map(test)) : "",
            fine.length ? el("details", {}, el("summary", {}, `Those that pass: ${number(fine.length)}`), el("ul", { class: "findings" }, fine.map(test))) : "");
    }

    /** What applying would change in the file. @param {string} text */
    #what(text) {
        const hunks = unified(this.sheet.text, text);
        if (!hunks.length) return this.change.replaceChildren();
        this.change.replaceChildren(heading("h-change", "What changes"), changes(hunks, "What changes, line by line"));
    }
}

/** What differs between two texts. @param {Hunk[]} hunks @param {string} name */
function changes(hunks, name) {
    const line = (/** @type {Hunk["lines"][number]} */ { sign, text: said }) => {
        const tag = sign === "+" ? "ins" : sign === "-" ? "del" : "span";
        return [el(tag, {}, sign, " ", spell(said)), "\n"];
    };
    const hunk = (/** @type {Hunk} */ { from, to, lines: all }) => [el("span", { class: "at" }, `@@ line ${from}, now ${to} @@`), "\n", all.map(line)];
    return el("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": name }, hunks.map(hunk));
}

/** Why the past is not seen yet. @type {Record<string, string>} */
const PAST = {
    trying: "It is being tried on the last 7 days.",
    failed: "It could not be tried on the last 7 days.",
    none: "It is not tried on the last 7 days yet.",
};

/** @param {string} id @param {string} text */
const heading = (id, text) => el("h2", { id }, text);

/** @param {Findings} found */
function passed({ tests, problems }) {
    if (!tests.length && problems.some((p) => p.severity === "error")) return "They were not run: there are errors above.";
    if (!tests.length) return "There are no tests.";
    return `${number(tests.filter((t) => t.passed).length)} of ${plural(tests.length, "test")} passed`;
}

/** A text of several lines, what cannot be seen spelt out. @param {string} text */
function lines(text) {
    return text.trimEnd().split("\n").map((line) => [spell(line), "\n"]);
}

/** What a change would have told. @param {Past} said */
function past(said) {
    if (said.from === null) return [el("p", { class: "quiet" }, "Nothing came in these days: there is nothing to try it on.")];
    const changed = said.rules.filter((r) => r.before !== r.after);
    const rows = changed.slice(0, MOST_ROWS).map((r) => [foreign(r.rule, { max: 80 }), number(r.before), number(r.after)]);
    const heads = ["Rule", { name: "In force", right: true }, { name: "This text", right: true }];
    return [
        el("p", { class: "lead" }, foreign(headline(said.headline), { max: 600 })),
        rows.length ? table("Messages by rule", heads, rows, { stack: true }) : el("p", { class: "quiet" }, "Every rule sends as many messages as now."),
        changed.length > MOST_ROWS ? el("p", { class: "quiet" }, `The first ${MOST_ROWS} of ${number(changed.length)}.`) : null,
        told("Would have missed", said.missed, said.more?.missed),
        told("Told in addition", said.new, said.more?.new),
        told("Told later", said.later, said.more?.later),
        told("Told earlier", said.earlier, said.more?.earlier),
    ];
}

/** As a terminal says it, without the days: the heading names them. @param {string} text */
function headline(text) {
    return asText(text).replace(/^last [^:]{1,40}: /, "").replace(" -> ", " → ");
}

/** @param {string} name @param {(Api.Told | Api.Moved)[]} list @param {number} [more] */
function told(name, list, more = 0) {
    if (!list.length) return null;
    const one = (/** @type {Api.Told} */ t) => el("li", {}, el("strong", {}, foreign(t.device ?? t.device_mac ?? t.site ?? "?", { max: 80 })), " ", foreign(t.what, { max: 80 }),
        el("span", { class: "quiet" }, `, ${when(t.starts_at ?? t.told_at)}, by `, foreign(t.rule, { max: 80 })));
    return el("details", {}, el("summary", {}, `${name}: ${number(list.length + more)}`),
        el("ul", { class: "findings" }, list.slice(0, MOST_ROWS).map(one)),
        list.length + more > MOST_ROWS ? el("p", { class: "quiet" }, `The worst ${MOST_ROWS} of ${number(list.length + more)}.`) : null);
}
