// One event: what came, what was decided and why, what was said, how that went, and how to make a rule of it.

import { aborted, ask, me, Problem, statusOf } from "./api.js";
import { el, foreign, say, trouble, words } from "./dom.js";
import { fate, severity } from "./fates.js";
import { tree } from "./json.js";
import { again, deliveries, previews } from "./message.js";
import { plain } from "./markup.js";
import { copyButton, fact } from "./pieces.js";
import { asText } from "./text.js";
import { time, zone } from "./time.js";
import { alsoTold, ruleAndTest, telling } from "./yaml.js";

/** How often what is not settled is looked at again. */
const AGAIN_MS = 3_000;

/** @type {Show} */
export function show(root, params, { id, stream }) {
    const ending = new AbortController();
    const box = el("div", { class: "event", "aria-busy": "true" }, el("p", { class: "quiet" }, "Looking …"));
    root.append(box);
    const path = /** @type {const} */ (`events/${encodeURIComponent(id)}`);
    const { signal } = ending;
    const whole = () => ask(path, { signal, params: new URLSearchParams({ decisions: "no" }) });
    /** @type {Api.EventInFull | null} */
    let event = null;
    const load = async () => {
        try {
            if (!/^\d+\.\d+$/.test(id)) throw new Problem(404, "no id", "");
            // The journal is folded again for that, which may take a while: the rest is shown before.
            const decided = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Looking up what was decided …"));
            event = await whole();
            box.replaceChildren(...page(event, decided, load));
            explain(path, decided, id, signal);
            lookSoon(AGAIN_MS);
        } catch (error) {
            if (aborted(error)) return;
            const gone = statusOf(error) === 404;
            box.replaceChildren(el("h1", {}, gone ? "No such event" : "This event cannot be shown"),
                gone ? el("p", {}, "It is not stored (any more): retention removes old ones.") : trouble(error, load),
                el("p", {}, el("a", { href: "#/live" }, "Back to what comes")));
        }
        box.setAttribute("aria-busy", "false");
    };
    // What is to be said may have yet to be, and what was said may still be on its way.
    let soon = 0;
    const settled = () => event?.fate !== "pending" && (event?.messages ?? []).every((m) => (m.destinations ?? []).every((to) => to.state !== "queued"));
    const look = async () => {
        const known = event;
        if (!known || settled()) return;
        const said = box.querySelector(".said");
        if (!document.hidden && !said?.contains(document.activeElement)) {
            const fresh = await whole().catch(() => known);
            if (JSON.stringify(fresh.messages) !== JSON.stringify(known.messages)) said?.replaceChildren(...[messages(fresh, load)].flat());
            event = fresh;
        }
        lookSoon(AGAIN_MS);
    };
    const lookSoon = (wait = 300) => {
        clearTimeout(soon);
        if (!signal.aborted) soon = setTimeout(look, wait);
    };
    signal.addEventListener("abort", () => clearTimeout(soon));
    stream.addEventListener("state", () => lookSoon(), { signal });
    stream.addEventListener("fate", ({ detail }) => {
        if (detail.id !== id) return;
        lookSoon();
        box.querySelector(".sum .fate")?.replaceWith(fate(detail.fate, detail.why));
        say(`This event is ${detail.fate} now`);
    }, { signal });
    load();
    return { title: `Event ${id}`, leave: () => ending.abort() };
}

/** @param {`events/${string}`} path @param {HTMLElement} box @param {string} id @param {AbortSignal} signal */
async function explain(path, box, id, signal) {
    try {
        box.replaceChildren(decisions(await ask(path, { signal }), id));
    } catch (error) {
        if (aborted(error)) return;
        box.replaceChildren(trouble(error, () => explain(path, box, id, signal)));
    }
    box.setAttribute("aria-busy", "false");
}

/** @param {string} key @param {string | null} value */
const find = (key, value, label = value) =>
    value ? el("a", { href: `#/live?${new URLSearchParams({ [key]: value })}` }, foreign(label)) : null;

/** @param {Api.EventInFull} event @param {HTMLElement} decided @param {() => void} load */
function page(event, decided, load) {
    const name = event.device ?? event.device_mac ?? event.site ?? "";
    return [
        el("p", { class: "crumb" }, el("a", { href: "#/live" }, "Live"), " › ", el("span", { class: "quiet" }, `event ${event.id}`)),
        el("h1", {}, foreign(event.type || event.topic), name ? [el("span", { class: "sep" }, " · "), foreign(name)] : null),
        el("p", { class: "sum" }, fate(event.fate, event.why), " ", severity(event.severity)),
        event.text ? el("blockquote", {}, foreign(event.text, { max: 1000, tag: "p" })) : null,
        about(event),
        el("section", { "aria-labelledby": "h-decisions" }, el("h2", { id: "h-decisions" }, "What was decided"), decided),
        el("section", { "aria-labelledby": "h-messages" }, el("h2", { id: "h-messages" }, "What was said"), el("div", { class: "said" }, messages(event, load))),
        el("section", { "aria-labelledby": "h-rule" }, el("h2", { id: "h-rule" }, "Make a rule and a test from this"), maker(event)),
        el("section", { "aria-labelledby": "h-raw" },
            el("div", { class: "with-button" }, el("h2", { id: "h-raw" }, "What came"), copyButton("Copy JSON", () => JSON.stringify(event.raw, null, 2))),
            event.raw === undefined ? el("p", { class: "quiet" }, "Its body is not kept.") : tree(event.raw)),
        el("p", { class: "quiet" }, "The same in a terminal: ", el("code", {}, `foghorn explain ${event.id}`), ". ",
            el("button", { type: "button", class: "small", on: { click: load } }, "Look again")),
    ].filter((node) => node !== null);
}

/** @param {Api.EventInFull} event */
function about(event) {
    const condition = event.condition ? [foreign(event.condition), event.phase ? el("span", { class: "quiet" }, ` ${event.phase}`) : null] : null;
    const rules = (event.rules ?? []).flatMap((rule, i) => [i ? ", " : null, find("rule", rule)]);
    return el("dl", { class: "facts" },
        fact("Happened", event.at && time(event.at, { whole: true })),
        fact("Received", event.received_at && time(event.received_at, { whole: true })),
        fact("Topic", find("topic", event.topic)),
        fact("Type", find("type", event.type)),
        fact("Condition", condition),
        fact("Site", find("site", event.site ?? event.site_id, event.site ?? event.site_id)),
        fact("Device", find("device", event.device ?? event.device_mac)),
        fact(/^[\da-f]{12}$/i.test(event.device_mac ?? "") ? "MAC" : "Device id", event.device_mac && el("code", {}, foreign(String(event.device_mac).replace(/^(..)(..)(..)(..)(..)(..)$/, "$1:$2:$3:$4:$5:$6")))),
        fact("Rules", rules.length ? rules : null));
}

/** @param {Api.EventInFull} event @param {string} id */
function decisions(event, id) {
    const list = event.decisions;
    if (!list) return el("p", { class: "quiet" }, "Finding out takes too long for a page. In a terminal: ", el("code", {}, `foghorn explain ${id}`));
    if (!list.length) return el("p", { class: "quiet" }, "Nothing was decided about it.");
    // Sentences are written on the server, which knows of no zone.
    const moved = new Date(event.at).getTimezoneOffset() !== 0 && list.some((d) => /\d\d? [A-Z][a-z]{2} (\d{4} )?\d\d:\d\d/.test(d.text));
    const note = moved ? el("p", { class: "quiet" }, `In sentences times are UTC; the clocks beside them are ${zone()}.`) : "";
    return el("div", {}, note, el("ol", { class: "decisions" }, list.map((d) =>
        el("li", {}, el("span", { class: "at" }, time(d.at)),
            el("div", {},
                d.rule ? el("b", {}, foreign(d.rule)) : el("b", { class: "quiet" }, "The event"),
                d.line ? el("span", { class: "quiet" }, " ", foreign(d.file ?? "rules.yaml"), `, line ${d.line}`) : null,
                el("p", {}, words(d.text, { max: 2000 })))))));
}

/** @type {Record<string, string>} */
const REASONS = {
    "first": "First message",
    "new-events": "More joined",
    "recovered": "Some are back",
    "repeat": "Reminder",
    "resolved": "It is over",
    "stale": "Not heard of any more",
    "flapping": "Flapping",
    "stable": "Stable again",
    "absent": "Nothing comes",
    "digest": "Digest",
};

/** @param {Api.EventInFull} event @param {() => void} load */
function messages(event, load) {
    const list = event.messages ?? [];
    if (!list.length) return el("p", { class: "quiet" }, "No message tells of it.");
    return list.map((message, i) => {
        return el("article", { class: "message", "aria-label": `Message ${i + 1}: ${plain(asText(message.title))}` },
            el("h3", {}, foreign(REASONS[message.reason] ?? message.reason ?? "Message"), el("span", { class: "quiet" }, " ", time(message.at))),
            previews(message),
            deliveries(message, i + 1),
            again(message, load));
    });
}

/** @param {Api.EventInFull} event */
function maker(event) {
    const fields = telling(event);
    if (!fields.length) return el("p", { class: "quiet" }, "It has nothing a rule could look for.");
    const code = el("code");
    const held = el("span", { role: "status" });
    let turn = 0;
    const chosen = new Set(fields.filter(([, , on]) => on).map(([field]) => field));
    // Written at once; what its test expects is then what the rules in force make of it.
    const write = async () => {
        const [mine, text] = [++turn, ruleAndTest(event, [...chosen])];
        code.replaceChildren(text);
        held.replaceChildren("");
        if (!me.can_act) return;
        try {
            const said = await ask("rules/rehearse", { method: "POST", body: { text } });
            if (mine !== turn) return;
            code.replaceChildren(said.text);
            held.replaceChildren("The test was run beside the rules in force, and passes. ");
        } catch {
            if (mine === turn) held.replaceChildren("The test was not run. ");
        }
    };
    const boxes = fields.map(([field, value, on, always]) => {
        const box = el("input", { type: "checkbox", checked: on, disabled: always });
        box.addEventListener("change", () => {
            if (box.checked) chosen.add(field);
            else chosen.delete(field);
            if (!chosen.size) {
                box.checked = true;
                chosen.add(field);
            }
            write();
        });
        return el("label", { class: "check" }, box, " ", el("code", {}, field), " ", foreign(value, { max: 60 }));
    });
    write();
    const others = alsoTold(event).flatMap(({ rule }, i) => [i ? ", " : null, foreign(rule, { max: 80 })]);
    return el("div", { class: "maker" },
        el("fieldset", {}, el("legend", {}, "Look for"), el("div", { class: "checks" }, boxes)),
        el("div", { class: "yaml" }, el("pre", { tabindex: "0", role: "region", "aria-label": "Rule and test, as YAML" }, code),
            copyButton("Copy YAML", () => code.textContent)),
        fields.some(([, , , always]) => always) ? el("p", { class: "quiet" }, "This event ends something: only by its type a rule tells of it.") : null,
        others.length ? el("p", { class: "quiet" }, "Told of by ", others, " already: the test expects what that says, too. To change a rule is often better than to add one.") : null,
        el("p", { class: "quiet" }, held, "Put it into rules.yaml: the rule below your other rules, the test below ", el("code", {}, "tests:"),
            ". Then ", el("code", {}, "foghorn test"), "."));
}
