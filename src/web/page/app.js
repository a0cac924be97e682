// The page: which view is shown, and the line at the top.

import { admit, ask, gate, me, Stream } from "./api.js";
import { byId, el, foreign, trouble } from "./dom.js";
import { zone } from "./time.js";

/** Each is loaded when it is first asked for. */
/** @type {Record<string, () => Promise<{ show: Show }>>} */
const VIEWS = {
    live: () => import("./live.js"),
    event: () => import("./event.js"),
    now: () => import("./now.js"),
    noise: () => import("./noise.js"),
    rules: () => import("./rules.js"),
};
/** @type {Map<string, { show: Show }>} */
const loaded = new Map();

/** Loads one. A browser keeps a failure, and gives it again, by the address: hence another one, and the question before.
 * @param {string} view */
async function load(view) {
    if (loaded.has(view)) return;
    if (current) await ask("me", { open: true });
    if (view !== "live") await styled();
    const module = await VIEWS[view]().catch(() => import(`./${view}.js?${Date.now()}`));
    loaded.set(view, module);
}
const stream = /** @type {LiveStream & Stream} */ (new Stream());
/** @type {Shown | null} */
let current = null;
let turn = 0;

/** What the address asks for: `#/event/123.0`, `#/live?site=Home`. */
function asked() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
    const [view, id] = path.split("/");
    const known = Object.hasOwn(VIEWS, view) ? view : "live";
    return { view: known, id: decode(id), params: new URLSearchParams(query ?? "") };
}

/** @param {string | undefined} text */
function decode(text) {
    try {
        return decodeURIComponent(text ?? "");
    } catch {
        return "";
    }
}

/** @type {Promise<unknown> | null} */
let sheet = null;

/** The first look is at Live, which does not wait for what the others look like. */
function styled() {
    sheet ??= new Promise((done, failed) => {
        const link = el("link", { rel: "stylesheet", href: "page/views.css", on: { load: done } });
        link.addEventListener("error", () => {
            link.remove();
            sheet = null;
            failed(new Error("views.css could not be loaded"));
        });
        document.head.append(link);
    });
    return sheet;
}

/** @param {boolean} byPerson */
async function route(byPerson) {
    const { view, id, params } = asked();
    const mine = ++turn;
    waits = false;
    await load(view).catch((error) => console.error(error));
    if (mine !== turn) return;
    current?.leave?.();
    const main = byId("main");
    const root = document.createElement("div");
    root.className = `view ${view}-view`;
    main.replaceChildren(root);
    for (const link of document.querySelectorAll("nav [data-view]")) {
        if (link.getAttribute("data-view") === view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
    current = loaded.get(view)?.show(root, params, { id, stream }) ?? missing(root, view);
    document.title = `${current.title} · Foghorn`;
    if (byPerson && !current.placed) {
        window.scrollTo({ top: 0 });
        main.focus({ preventScroll: true });
    }
}

/** Stands where a view should, until it can be loaded. @param {HTMLElement} root @param {string} view */
function missing(root, view) {
    waits = true;
    const name = document.querySelector(`nav [data-view=${view}]`)?.textContent ?? "Event";
    root.append(el("h1", {}, name), trouble({ message: "This view could not be loaded", help: "it comes once Foghorn answers; else load the page anew" }, () => route(false)));
    return { title: name };
}

let waits = false;
stream.addEventListener("link", (e) => e.detail === "open" && waits && route(false));

/** @type {Record<string, string>} */
const LINK = { open: "connected", lost: "connection lost; trying again", asleep: "" };

/** @param {string} state */
function linked(state) {
    const node = byId("link");
    node.className = `link ${state}`;
    if (node.textContent !== LINK[state]) node.textContent = LINK[state] ?? "";
}

stream.addEventListener("link", (e) => linked(e.detail));
document.querySelector(".skip")?.addEventListener("click", (e) => {
    e.preventDefault();
    byId("main").focus();
});
window.addEventListener("hashchange", () => route(true));

/** Who looks, at the top, and how they leave: where the page would be empty for others, it is emptied. */
function named() {
    const node = byId("who");
    const shown = JSON.stringify([me.name, me.how]);
    if (node.dataset.shown === shown) return;
    node.dataset.shown = shown;
    node.replaceChildren();
    if (me.name) node.append(foreign(me.name, { max: 40 }));
    if (me.how !== "password") return;
    const leave = el("button", { type: "button", class: "small" }, "Log out");
    leave.addEventListener("click", async () => {
        await ask("logout", { method: "POST", open: true }).catch(() => {});
        location.reload();
    });
    node.append(leave);
}

byId("zone").textContent = `Times are of this browser: ${zone()}`;
gate.addEventListener("in", named);
gate.addEventListener("out", () => {
    named();
    linked("asleep");
});
// Who may do what is known a moment later; views ask for it when they draw.
admit().catch(() => {}).finally(() => {
    named();
    route(false);
    stream.start();
});
