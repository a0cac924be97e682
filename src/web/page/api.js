// All that goes to the server and comes from it: the API of /api/v1, and the one stream of what happens.

const BASE = "api/v1/";

/** What the server said was wrong. */
export class Problem extends Error {
    /** @param {number} status @param {string} error @param {string} help @param {Partial<Api.Rejected> | null} said */
    constructor(status, error, help, said = null) {
        super(error);
        this.status = status;
        this.help = help;
        this.said = said;
    }
}

/** Whether the error says that the view that asked is left. @param {unknown} error */
export const aborted = (error) => error instanceof DOMException && error.name === "AbortError";

/** HTTP status of a refusal; 0 for anything else. @param {unknown} error */
export const statusOf = (error) => (error instanceof Problem ? error.status : 0);

/**
 * Asks the server. Where it wants to know first who asks, they are asked, and then it goes on; unless it is `open` to all.
 * @template {string} P
 * @template {string} [M="GET"]
 * @param {P} path @param {Question & { method?: M }} [how]
 * @returns {Promise<Api.Answer<M, P>>}
 */
export async function ask(path, { open = false, ...how } = {}) {
    try {
        return await send(path, how);
    } catch (error) {
        if (statusOf(error) === 403 && await renewed(how)) return send(path, how);
        if (statusOf(error) !== 401 || open) throw error;
        await admit();
        return send(path, how);
    }
}

/** Whether our proof is another by now: the server began anew, or somebody logged in in another tab. @param {Question} how */
async function renewed({ method = "GET" }) {
    const before = me.csrf;
    if (method === "GET") return false;
    await introduce();
    return Boolean(me.csrf) && me.csrf !== before;
}

/** @param {string} path @param {Question} how */
async function send(path, { method = "GET", body, params, signal } = {}) {
    const query = params ? `?${params}` : "";
    /** @type {Record<string, string>} */
    const headers = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (method !== "GET" && me.csrf) headers["x-csrf-token"] = me.csrf;
    let answer;
    try {
        answer = await fetch(BASE + path + query, {
            method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin",
        });
    } catch (error) {
        if (aborted(error)) throw error;
        throw new Problem(0, "Foghorn does not answer", "is it running?");
    }
    const said = await answer.json().catch(() => null);
    if (!answer.ok) {
        throw new Problem(answer.status, said?.error || `the server answered ${answer.status}`, said?.help || "", said);
    }
    return said;
}

/** Who looks, and what they may do: `can_see` anything, `can_act`, and whether a `login` would help. @type {Partial<Api.Me>} */
export const me = { can_act: false, can_see: false, login: false };

export async function introduce() {
    try {
        Object.assign(me, await ask("me", { open: true }));
    } catch {
        // A server that does not say lets nobody do anything.
    }
}

/** @type {Promise<void> | null} */
let admission = null;

/** Waits until whoever looks may see the page: asks them for the password where there is one. */
export function admit() {
    admission ??= (async () => {
        await introduce();
        // Let in meanwhile, in another tab; or the server does not say.
        if (me.can_see || me.how === undefined) return;
        gate.dispatchEvent(new Event("out"));
        const { letIn } = await import("./login.js");
        await letIn();
        gate.dispatchEvent(new Event("in"));
    })().finally(() => (admission = null));
    return admission;
}

/** Says `in` when someone was let in, or is known anew, and `out` when they may see nothing any more. */
export const gate = new EventTarget();

/**
 * The stream. One connection for all windows of a browser, which has only six for one server: `shared.js` holds it, where the
 * browser has such workers. None while nobody looks. Says `event`, `fate`, `count`, `state`, and `link` with "open", "lost" or
 * "asleep".
 */
export class Stream extends EventTarget {
    /** @type {Wire | null} */
    #wire = null;
    #retry = 0;
    #timer = 0;
    #was = false;
    #looks = false;

    constructor() {
        super();
        document.addEventListener("visibilitychange", () => (document.hidden ? this.#sleep() : this.#open()));
        window.addEventListener("pagehide", () => this.#sleep());
        window.addEventListener("pageshow", (event) => event.persisted && this.#open());
        setInterval(() => this.#looks && this.#wire?.say("here"), 20_000);
    }

    /** Begins. */
    start() {
        if (!document.hidden) this.#open();
    }

    #open() {
        clearTimeout(this.#timer);
        this.#looks = true;
        this.#wire ??= wire((kind, detail) => this.#hear(kind, detail));
        this.#wire.say("open");
    }

    /** @param {string} kind @param {string} detail */
    #hear(kind, detail) {
        if (!this.#looks) return;
        if (kind !== "link") {
            const data = read(detail);
            if (data !== undefined) this.#tell(kind, data);
            return;
        }
        this.#tell("link", detail === "refused" ? "lost" : detail);
        if (detail === "open") {
            this.#retry = 0;
            // The server may be another, and who looks as well.
            if (this.#was) introduce().then(() => gate.dispatchEvent(new Event("in")));
            this.#was = true;
        }
        // The browser tries again by itself, but gives up on an answer that is no stream.
        if (detail === "refused") {
            this.#retry = Math.min(30_000, (this.#retry || 1_000) * 2);
            clearTimeout(this.#timer);
            this.#timer = setTimeout(() => this.#again(), this.#retry);
        }
    }

    /** A stream does not say why it was refused. */
    async #again() {
        await admit().catch(() => {});
        if (!document.hidden) this.#open();
    }

    #sleep() {
        clearTimeout(this.#timer);
        this.#looks = false;
        this.#wire?.say("close");
        this.#tell("link", "asleep");
    }

    /** @param {string} kind @param {unknown} detail */
    #tell(kind, detail) {
        this.dispatchEvent(new CustomEvent(kind, { detail }));
    }
}

/** What holds the stream, and hears "open", "here" and "close": the worker of all windows, or where there is none one in here. @param {Hear} hear @returns {Wire} */
function wire(hear) {
    if (typeof SharedWorker !== "function") return { say: alone(hear) };
    const worker = new SharedWorker(new URL("shared.js", import.meta.url), { name: "foghorn", type: "module" });
    worker.port.addEventListener("message", ({ data: [kind, detail] }) => hear(kind, detail));
    worker.port.start();
    let say = (/** @type {string} */ word) => worker.port.postMessage(word);
    let last = "";
    // It could not be loaded.
    worker.addEventListener("error", () => {
        say = alone(hear);
        say(last);
    });
    return { say: (word) => say(last = word) };
}

/** @param {Hear} hear */
function alone(hear) {
    /** @type {Promise<Record<string, () => void>> | null} */
    let own = null;
    let again = "";
    return async (/** @type {string} */ word) => {
        own ??= import(`./shared.js${again}`).then(({ hold }) => hold(`${BASE}live`, hear));
        try {
            (await own)[word]?.();
        } catch {
            own = null;
            again = `?${Date.now()}`;
            if (word === "open") hear("link", "refused");
        }
    };
}

/** @param {string} text */
function read(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}
