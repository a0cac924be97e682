// The way in: a password, where there is one; else in plain words what to do. It lies over the page, which stays as it was.

import { ask, gate, introduce, me, Problem } from "./api.js";
import { el, icon, sentence, words } from "./dom.js";

/** Asks until whoever looks may see the page. @returns {Promise<void>} */
export function letIn() {
    return new Promise((done) => {
        const dialog = el("dialog", { class: "gate", "aria-labelledby": "h-gate" });
        // Nothing is behind it that could be seen: it closes by getting in only.
        dialog.addEventListener("cancel", (event) => event.preventDefault());
        const known = new AbortController();
        const into = () => {
            known.abort();
            dialog.close();
            dialog.remove();
            done();
        };
        const draw = () => dialog.replaceChildren(...(me.login ? form(into, draw) : closed(into, draw)));
        // In another window.
        gate.addEventListener("in", () => me.can_see && into(), { signal: known.signal });
        document.body.append(dialog);
        draw();
        dialog.showModal();
        /** @type {HTMLElement | null} */ (dialog.querySelector("input:not([hidden]), button"))?.focus();
    });
}

/** @param {() => void} into @param {() => void} draw */
function form(into, draw) {
    const password = el("input", { type: "password", name: "password", autocomplete: "current-password", required: true });
    const button = el("button", { type: "submit" }, "Log in");
    const note = el("div", { role: "alert" });
    const node = el("form", { method: "post" },
        // For password managers, which keep nothing without a name.
        el("input", { type: "text", name: "username", autocomplete: "username", value: "foghorn", hidden: true, readonly: true }),
        el("label", {}, "Password", password), note, button);
    node.addEventListener("submit", async (event) => {
        event.preventDefault();
        button.disabled = true;
        note.replaceChildren();
        try {
            Object.assign(me, await ask("login", { method: "POST", body: { password: password.value }, open: true }));
            password.value = "";
            return into();
        } catch (error) {
            note.replaceChildren(el("p", { class: "trouble" }, icon("bad"), words(wrong(error))));
        }
        button.disabled = false;
        password.select();
        password.focus();
        // The password may be gone from the config meanwhile.
        await introduce();
        if (!me.login) draw();
    });
    return [el("h1", { id: "h-gate" }, "Foghorn"), node,
        el("p", { class: "quiet" }, "Forgotten? Whoever runs Foghorn makes another: ", el("code", {}, "foghorn hash-password"), ".")];
}

/** @param {unknown} error */
function wrong(error) {
    if (!(error instanceof Problem)) return String(error);
    if (error.status === 401) return "That is not the password.";
    return sentence(error.help ? `${error.message}: ${error.help}` : error.message);
}

/** @param {() => void} into @param {() => void} draw */
function closed(into, draw) {
    const again = el("button", { type: "button" }, "Try again");
    again.addEventListener("click", async () => {
        again.disabled = true;
        await introduce();
        if (me.can_see) into();
        else draw();
    });
    return [el("h1", { id: "h-gate" }, "You may not see this page"),
        el("p", {}, words(sentence(me.help || "Ask whoever runs Foghorn."))), again];
}
