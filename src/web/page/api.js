// All that goes to the server and comes from it: the API of /api/v1, and the one stream of what happens.

const BASE = "api/v1/";

/** What the server said was wrong. */
export class Problem extends Error {
    constructor(status, error, help, said = null) {
        super(error);
        this.status = status;
        this.help = help;
        this.said = said;
    }
}

/**
 * Asks the server. Where it wants to know first who asks, they are asked, and then it goes on; unless it is `open` to all.
 */
export async function ask(path, { open = false, ...how } = {}) {
    try {
        return await send(path, how);
    } catch (error) {
        if (error.status === 403 && await renewed(how)) return send(path, how);
        if (error.status !== 401 || open) throw error;
        await admit();
        return send(path, how);
    }
}

/** Whether our proof is another by now: the server began anew, or somebody logged in in another tab. */
async function renewed({ method = "GET" }) {
    const before = me.csrf;
    if (method === "GET") return false;
    await introduce();
    return Boolean(me.csrf) && me.csrf !== before;
}

async function send(path, { method = "GET", body, params, signal } = {}) {
    const query = params ? `?${params}` : "";
    const headers = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (method !== "GET" && me.csrf) headers["x-csrf-token"] = me.csrf;
    let answer;
    try {
        answer = await fetch(BASE + path + query, {
            method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin",
        });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem(0, "Foghorn does not answer", "is it running?");
    }
    const said = await answer.json().catch(() => null);
    if (!answer.ok) {
        throw new Problem(answer.status, said?.error || `the server answered ${answer.status}`, said?.help || "", said);
    }
    return said;
}

/** Who looks, and what they may do: `can_see` anything, `can_act`, and whether a `login` would help. */
export const me = { can_act: false, can_see: false, login: false };

export async function introduce() {
    try {
        Object.assign(me, await ask("me", { open: true }));
    } catch {
        // A server that does not say lets nobody do anything.
    }
}

let admission = null;

/** Waits until whoever looks may see the page: asks them for the password where there is one. */
export function admit() {
    admission ??= (async () => {
        await introduce();
        // Let in meanwhile, in another tab; or the server does not say.
        if (me.can_see || me.how === undefined) return;
        const { letIn } = await import("./login.js");
        await letIn();
        gate.dispatchEvent(new Event("in"));
    })().finally(() => (admission = null));
    return admission;
}

/** Says `in` when someone was let in, or is known anew. */
export const gate = new EventTarget();

/**
 * The stream. One connection for the whole page, and none while nobody looks at it: a browser has only six for one server, and
 * people keep tabs. Says `event`, `fate`, `count`, `state`, and `link` with "open", "lost" or "asleep".
 */
export class Stream extends EventTarget {
    #source = null;
    #retry = 0;
    #timer = 0;
    #was = false;

    constructor() {
        super();
        document.addEventListener("visibilitychange", () => (document.hidden ? this.#sleep() : this.#open()));
    }

    /** Begins. */
    start() {
        if (!document.hidden) this.#open();
    }

    #open() {
        if (this.#source) return;
        clearTimeout(this.#timer);
        const source = new EventSource(`${BASE}live`);
        this.#source = source;
        source.addEventListener("open", () => {
            this.#retry = 0;
            this.#tell("link", "open");
            // The server may be another, and who looks as well.
            if (this.#was) introduce().then(() => gate.dispatchEvent(new Event("in")));
            this.#was = true;
        });
        source.addEventListener("error", () => {
            this.#tell("link", "lost");
            // The browser tries again by itself, but gives up on an answer that is no stream.
            if (source.readyState === EventSource.CLOSED) {
                this.#close();
                this.#retry = Math.min(30_000, (this.#retry || 1_000) * 2);
                this.#timer = setTimeout(() => this.#again(), this.#retry);
            }
        });
        for (const kind of ["event", "fate", "count", "state"]) {
            source.addEventListener(kind, (message) => {
                const data = read(message.data);
                if (data !== undefined) this.#tell(kind, data);
            });
        }
    }

    /** A stream does not say why it was refused. */
    async #again() {
        await admit().catch(() => {});
        if (!document.hidden) this.#open();
    }

    #sleep() {
        this.#close();
        this.#tell("link", "asleep");
    }

    #close() {
        clearTimeout(this.#timer);
        this.#source?.close();
        this.#source = null;
    }

    #tell(kind, detail) {
        this.dispatchEvent(new CustomEvent(kind, { detail }));
    }
}

function read(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}
