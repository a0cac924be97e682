// The page: which view is shown, and the line at the top.

import { introduce, Stream } from "./api.js";

/** Each is loaded when it is first asked for. */
const VIEWS = {
    live: () => import("./live.js"),
    event: () => import("./event.js"),
    now: () => import("./now.js"),
    noise: () => import("./noise.js"),
};
const stream = new Stream();
let current = null;
let turn = 0;

/** What the address asks for: `#/event/123.0`, `#/live?site=Home`. */
function asked() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
    const [view, id] = path.split("/");
    const known = Object.hasOwn(VIEWS, view) ? view : "live";
    return { view: known, id: decode(id), params: new URLSearchParams(query ?? "") };
}

function decode(text) {
    try {
        return decodeURIComponent(text ?? "");
    } catch {
        return "";
    }
}

async function route(byPerson) {
    const { view, id, params } = asked();
    const mine = ++turn;
    const module = await VIEWS[view]();
    if (mine !== turn) return;
    current?.leave?.();
    const main = document.getElementById("main");
    const root = document.createElement("div");
    root.className = `view ${view}-view`;
    main.replaceChildren(root);
    for (const link of document.querySelectorAll("nav [data-view]")) {
        if (link.dataset.view === view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
    current = module.show(root, params, { id, stream });
    document.title = `${current.title} · Foghorn`;
    if (byPerson) {
        window.scrollTo({ top: 0 });
        main.focus({ preventScroll: true });
    }
}

const LINK = { open: "connected", lost: "connection lost; trying again", asleep: "" };

function linked(state) {
    const node = document.getElementById("link");
    node.className = `link ${state}`;
    if (node.textContent !== LINK[state]) node.textContent = LINK[state] ?? "";
}

stream.addEventListener("link", (e) => linked(e.detail));
document.querySelector(".skip").addEventListener("click", (e) => {
    e.preventDefault();
    document.getElementById("main").focus();
});
window.addEventListener("hashchange", () => route(true));
// Who may do what is known a moment later; views ask for it when they draw.
introduce().finally(() => {
    route(false);
    stream.start();
});
