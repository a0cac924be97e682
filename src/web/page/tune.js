// What would make less noise: changes to the rules, tried on the stored traffic by the server, which may take it minutes.

import { aborted, ask, me } from "./api.js";
import { el, foreign, say, trouble, words } from "./dom.js";
import { duration, since as ago } from "./elapsed.js";
import { copyButton, table } from "./pieces.js";
import { asText, number, plural } from "./text.js";

const AGAIN_MS = 2_000;
const TALKERS = 3;

/** The section; it looks once it is opened, since looking is work. @param {string} since @param {AbortSignal} signal */
export function tuning(since, signal) {
    const box = el("div");
    const begin = el("button", { type: "button", class: "small" }, "Look for changes that help");
    const spent = el("span", { "aria-hidden": "true" });
    let timer = 0;
    signal.addEventListener("abort", () => clearTimeout(timer));
    const params = new URLSearchParams({ since });
    const load = async ({ fresh = false } = {}) => {
        begin.hidden = true;
        box.setAttribute("aria-busy", "true");
        try {
            const found = await ask("tune", { params, signal, method: fresh ? "POST" : "GET" });
            if ("busy" in found) {
                if (!box.contains(spent)) box.replaceChildren(el("p", { class: "quiet working", role: "status" }, "Trying changes on the stored traffic; this may take minutes. ", spent));
                spent.textContent = `${duration(found.since_ms ?? 0)} so far.`;
                timer = setTimeout(load, AGAIN_MS);
                return;
            }
            box.replaceChildren(...drawn(found, load).filter((node) => node !== null));
            say(`${plural(found.suggestions?.length ?? 0, "suggestion")}`);
        } catch (error) {
            if (aborted(error)) return;
            box.replaceChildren(trouble(error, load));
        }
        box.setAttribute("aria-busy", "false");
    };
    begin.addEventListener("click", () => load());
    return el("section", { "aria-labelledby": "h-tune" }, el("h2", { id: "h-tune" }, "What would help"),
        el("p", { class: "quiet" }, "Changes to rules.yaml, each tried on what came: what it would save, and what it would cost. ", begin), box);
}

/** @param {Api.Tuning} found @param {(how: { fresh: boolean }) => void} load */
function drawn(found, load) {
    const list = found.suggestions ?? [];
    const lost = found.lost ? `${number(found.lost)} would be missed that may matter` : "nothing that matters would be missed";
    return [
        el("p", {}, el("strong", {}, plural(found.messages ?? 0, "message")), list.length ? [" → ", el("strong", {}, number(found.after ?? 0)), ` with all of it; ${lost}.`] : " by the rules as they are."),
        found.cut ? el("p", { class: "quiet" }, "Only the newest of the traffic was looked at: all of it would be too much.") : null,
        list.length ? el("ol", { class: "cards" }, list.map((one) => suggestion(one, found.file)))
            : el("p", { class: "quiet" }, "Nothing to improve: no change would save much without losing something."),
        found.helpless?.length ? el("p", { class: "quiet" }, "Nothing helps without losing something: ", found.helpless.flatMap((one, i) => [i ? ", " : null, foreign(one.rule, { max: 80 }), ` (${number(one.messages)})`]), ".") : null,
        patch(found),
        talkers(found.rules ?? []),
        el("p", { class: "quiet" }, "Found ", ago(found.made_at), `, in ${duration(found.took_ms ?? 0)}. `,
            el("button", { type: "button", class: "small", disabled: !me.can_act, title: me.can_act ? null : "This page may not change anything", on: { click: () => load({ fresh: true }) } }, "Find it anew")),
    ];
}

/** @param {Api.Tuning["suggestions"][number]} one @param {string} file */
function suggestion(one, file) {
    const place = one.line ? `${asText(file)}, line ${one.line}` : `${asText(file)}, by hand`;
    return el("li", { class: "card" },
        el("h3", {}, foreign(one.rule, { max: 120 }), el("span", { class: "quiet" }, ` ${number(one.before)} → ${plural(one.after, "message")}`)),
        el("p", {}, el("code", {}, foreign(`${asText(one.key)}: ${asText(one.value)}`)), " ", foreign(place, { class: "quiet" })),
        el("p", {}, words(one.why)),
        one.lost_count ? el("p", { class: "sum" }, el("strong", {}, "It would lose, which may matter: "), el("span", {}, (one.lost ?? []).flatMap((what, i) => [i ? ", " : null, foreign(what, { max: 120 })]),
            one.lost_count > one.lost.length ? ` and ${number(one.lost_count - one.lost.length)} more` : null)) : null);
}

/** @param {Api.Tuning} found */
function patch(found) {
    if (found.patch === null) return el("p", { class: "quiet" }, "These rules are built in: copy them to rules.yaml to change them.");
    if (!found.patch) return null;
    return el("details", {}, el("summary", {}, "All of it as a patch"),
        el("div", { class: "yaml" }, el("pre", { tabindex: "0", role: "region", "aria-label": "Patch of rules.yaml" }, el("code", {}, found.patch)), copyButton("Copy the patch", found.patch)),
        el("p", { class: "quiet" }, "For ", el("code", {}, "patch -p0"), " in the folder Foghorn was started in."));
}

/** @param {Api.Tuning["rules"]} rules */
function talkers(rules) {
    if (!rules.length) return null;
    const rows = rules.map((rule) => [foreign(rule.rule, { max: 80 }), number(rule.messages), rule.talkers.slice(0, TALKERS).flatMap((who, i) => [i ? ", " : null, foreign(who.name, { max: 60 }), ` ${number(who.messages)}`])]);
    return el("details", {}, el("summary", {}, "Who is named most"), table("Messages by rule", ["Rule", { name: "Messages", right: true }, "Named most"], rows));
}
