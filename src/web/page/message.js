// One message: what Slack and Teams are posted for it, how its deliveries went, and sending it again.

import { act } from "./acts.js";
import { slack, teams } from "./chat.js";
import { el, foreign, words } from "./dom.js";
import { table } from "./pieces.js";
import { asText, number, plural } from "./text.js";
import { time } from "./time.js";

/** As both chats show it, side by side. */
export function previews(message) {
    const shown = message.shown ?? {};
    return el("div", { class: "previews" }, slack(shown.slack), teams(shown.teams));
}

const OUTCOMES = { again: "failed, tried again", dead: "given up" };

/** What was answered; the status has a column of its own. */
function reply({ reply: text, http }) {
    return asText(text).replace(http ? ` (HTTP ${http})` : /$^/, "");
}

/** Tries of one delivery that are shown: the first, and the last ones. */
const FIRST_TRIES = 1;
const LAST_TRIES = 3;

/** How each delivery went, try by try; where there are many, those between the first and the last when asked. */
export function deliveries(message, nth) {
    const box = el("div");
    const all = new Set();
    const draw = () => box.replaceChildren(tries(message, nth, all, (to) => {
        all.add(to);
        draw();
        box.querySelector(".scroll").focus();
    }));
    draw();
    return box;
}

function tries(message, nth, all, unfold) {
    const rows = (message.destinations ?? []).flatMap((to) => {
        const attempts = to.attempts?.length ? to.attempts : [null];
        const between = all.has(to) ? [] : attempts.slice(FIRST_TRIES, -LAST_TRIES);
        const folded = between.length > 1 && [foreign(to.name), "", [time(between[0].at), " to ", time(between.at(-1).at)],
            el("button", { type: "button", class: "small", on: { click: () => unfold(to) } }, `Show ${number(between.length)} more tries`), "", ""];
        const shown = folded ? attempts.filter((one) => !between.includes(one)) : attempts;
        const lines = shown.map((attempt) => [
            foreign(to.name),
            foreign(to.state ?? ""),
            attempt ? time(attempt.at) : "–",
            attempt ? foreign(OUTCOMES[attempt.status] ?? (asText(attempt.status) || "–")) : "not tried yet",
            attempt?.http ? number(attempt.http) : "–",
            attempt?.reply ? words(reply(attempt), { max: 300 }) : "",
        ]);
        if (folded) lines.splice(FIRST_TRIES, 0, folded);
        return lines;
    });
    if (!rows.length) return el("p", { class: "quiet" }, "It went nowhere yet.");
    return table(`Deliveries of message ${nth}`, ["Destination", "State", "Tried", "Outcome", "HTTP status", "Reply"], rows, { stack: true });
}

/** Buttons that queue it once more: to one destination each, and to all of them. */
export function again(message, done) {
    const names = [...new Set((message.destinations ?? []).map((to) => asText(to.name)))];
    if (!message.id || !names.length) return null;
    const queued = (name) => message.destinations.some((to) => asText(to.name) === name && to.state === "queued");
    const path = `messages/${encodeURIComponent(message.id)}/again`;
    const says = ({ deliveries: made }) => `Queued: ${plural(made?.length ?? 0, "delivery", "deliveries")}`;
    const button = (text, label, to) => act(text, {
        label, path, says, done, sure: "Really send it again?", body: to === null ? {} : { to },
        allowed: to === null ? !names.some(queued) : !queued(to), why: "It is queued already",
    });
    const to = names.map((name) => button([`Send again to `, foreign(name, { max: 40 })], `Send again to ${name.slice(0, 80)}`, name));
    return el("p", { class: "acts" }, to, names.length > 1 ? button("Send again to all", "Send again to all", null) : null);
}
