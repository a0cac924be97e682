// A button for what cannot be taken back: the first press asks, the second does it.

import { ask, me } from "./api.js";
import { el, say, trouble } from "./dom.js";

/** How long the question stands. */
const SURE_MS = 4_000;

/**
 * The button, and where it says what went wrong. `path` is posted `body`; `done` is told the answer, `says` makes a sentence
 * of it. `label` names it for those who do not see what it stands beside.
 * @template A
 * @param {Child} text
 * @param {{ label: string, sure: string, path: string, body?: unknown, says: (answer: A) => string, done: (answer: A) => void,
 *   allowed?: boolean, why?: string | null }} act
 */
export function act(text, { label, sure, path, body, says, done, allowed = true, why = null }) {
    const may = me.can_act && allowed;
    const title = me.can_act ? (allowed ? null : why) : "This page may not change anything";
    // Both stand in it, one unseen: it is as wide before as after, and nothing beside it moves.
    const button = el("button", { type: "button", class: "small twice", "aria-label": label, disabled: !may, title },
        el("span", { class: "once" }, text), el("span", { class: "sure", "aria-hidden": "true" }, sure));
    const note = el("span", { class: "act-note" });
    let timer = 0;
    const calm = () => {
        clearTimeout(timer);
        timer = 0;
        button.classList.remove("asks");
        button.setAttribute("aria-label", label);
    };
    button.addEventListener("click", async () => {
        if (!timer) {
            button.classList.add("asks");
            button.setAttribute("aria-label", `${sure} ${label}`);
            timer = setTimeout(calm, SURE_MS);
            return;
        }
        calm();
        button.disabled = true;
        try {
            const said = /** @type {A} */ (await ask(path, { method: "POST", body }));
            say(says(said));
            note.replaceChildren(says(said));
            button.blur();
            done(said);
        } catch (error) {
            button.disabled = false;
            note.replaceChildren(trouble(error));
        }
    });
    return el("span", { class: "act" }, button, note);
}
