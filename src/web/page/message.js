// One message: what Slack and Teams are posted for it, how its deliveries went, and sending it again.

import { act } from "./acts.js";
import { slack, teams } from "./chat.js";
import { el, foreign, words } from "./dom.js";
import { table } from "./pieces.js";
import { asText, number, plural } from "./text.js";
import { time } from "./time.js";

/** Drawing of what a kind of destination is posted. @type {Record<string, (body: Api.Message["shown"][number]["body"]) => Child>} */
const PREVIEWS = { slack, teams };

/** As each chat shows it, side by side. @param {Api.Message} message */
export function previews(message) {
    return el("div", { class: "previews" }, (message.shown ?? []).map(({ kind, body }) => PREVIEWS[kind]?.(body)));
}

/** @typedef {Api.Message["destinations"][number]} Delivery */

/** @type {Record<string, string>} */
const OUTCOMES = { again: "failed, tried again", dead: "given up" };

/** What was answered; the status has a column of its own. @param {Api.Attempt} attempt */
function reply({ reply: text, http }) {
    return asText(text).replace(http ? ` (HTTP ${http})` : /$^/, "");
}

/** Tries of one delivery that are shown: the first, and the last ones. */
const FIRST_TRIES = 1;
const LAST_TRIES = 3;

/** How each delivery went, try by try; where there are many, those between the first and the last when asked.
 * @param {Api.Message} message @param {number} nth */
export function deliveries(message, nth) {
    const box = el("div");
    /** @type {Set<Delivery>} */
    const all = new Set();
    const draw = () => box.replaceChildren(tries(message, nth, all, (to) => {
        all.add(to);
        draw();
        /** @type {HTMLElement} */ (box.querySelector(".scroll")).focus();
    }));
    draw();
    return box;
}

/** @param {Api.Message} message @param {number} nth @param {Set<Delivery>} all @param {(to: Delivery) => void} unfold */
function tries(message, nth, all, unfold) {
    const rows = (message.destinations ?? []).flatMap((to) => {
        const attempts = to.attempts ?? [];
        /** @type {Api.Attempt[]} */
        const between = all.has(to) ? [] : attempts.slice(FIRST_TRIES, -LAST_TRIES);
        const folded = between.length > 1 && [foreign(to.name), "", [time(between[0].at), " to ", time(between.at(-1)?.at)],
            el("button", { type: "button", class: "small", on: { click: () => unfold(to) } }, `Show ${number(between.length)} more tries`), "", ""];
        const shown = folded ? attempts.filter((one) => !between.includes(one)) : attempts;
        /** @type {Child[][]} */
        const lines = shown.map((attempt) => [
            foreign(to.name),
            foreign(to.state ?? ""),
            time(attempt.at),
            foreign(OUTCOMES[attempt.status] ?? (asText(attempt.status) || "–")),
            attempt.http ? number(attempt.http) : "–",
            attempt.reply ? words(reply(attempt), { max: 300 }) : "",
        ]);
        if (!lines.length) lines.push([foreign(to.name), foreign(to.state ?? ""), "–", "not tried yet", "–", ""]);
        if (folded) lines.splice(FIRST_TRIES, 0, folded);
        return lines;
    });
    if (!rows.length) return el("p", { class: "quiet" }, "It went nowhere yet.");
    return table(`Deliveries of message ${nth}`, ["Destination", "State", "Tried", "Outcome", "HTTP status", "Reply"], rows, { stack: true });
}

/** Buttons that queue it once more: to one destination each, and to all of them.
 * @param {Api.Message} message @param {() => void} done */
export function again(message, done) {
    const names = [...new Set((message.destinations ?? []).map((to) => asText(to.name)))];
    if (!message.id || !names.length) return null;
    const queued = (/** @type {string} */ name) => message.destinations.some((to) => asText(to.name) === name && to.state === "queued");
    const path = /** @type {const} */ (`messages/${encodeURIComponent(message.id)}/again`);
    const says = (/** @type {Api.Queued} */ { deliveries: made }) => `Queued: ${plural(made?.length ?? 0, "delivery", "deliveries")}`;
    /** @type {(text: Child, label: string, to: string | null) => Node} */
    const button = (text, label, to) => act(text, {
        label, path, says, done, sure: "Really send it again?", body: to === null ? {} : { to },
        allowed: to === null ? !names.some(queued) : !queued(to), why: "It is queued already",
    });
    const to = names.map((name) => button([`Send again to `, foreign(name, { max: 40 })], `Send again to ${name.slice(0, 80)}`, name));
    return el("p", { class: "acts" }, to, names.length > 1 ? button("Send again to all", "Send again to all", null) : null);
}
