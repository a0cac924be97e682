// All that goes to the server and comes from it: the API of /api/v1, and the one stream of what happens.

const BASE = "api/v1/";

/** What the server said was wrong. */
export class Problem extends Error {
    constructor(status, error, help) {
        super(error);
        this.status = status;
        this.help = help;
    }
}

/** Asks the server. */
export async function ask(path, { method = "GET", body, params, signal } = {}) {
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
        throw new Problem(answer.status, said?.error || `the server answered ${answer.status}`, said?.help || "");
    }
    return said;
}

/** What whoever looks may do: `can_see` the silences, `can_act` on them. */
export const me = { can_act: false, can_see: false };

export async function introduce() {
    try {
        Object.assign(me, await ask("me"));
    } catch {
        // A server that does not say lets nobody do anything.
    }
}

/**
 * The stream. One connection for the whole page, and none while nobody looks at it: a browser has only six for one server, and
 * people keep tabs. Says `event`, `count`, `state`, and `link` with "open", "lost" or "asleep".
 */
export class Stream extends EventTarget {
    #source = null;
    #retry = 0;
    #timer = 0;

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
        });
        source.addEventListener("error", () => {
            this.#tell("link", "lost");
            // The browser tries again by itself, but gives up on an answer that is no stream.
            if (source.readyState === EventSource.CLOSED) {
                this.#close();
                this.#retry = Math.min(30_000, (this.#retry || 1_000) * 2);
                this.#timer = setTimeout(() => this.#open(), this.#retry);
            }
        });
        for (const kind of ["event", "count", "state"]) {
            source.addEventListener(kind, (message) => {
                const data = read(message.data);
                if (data !== undefined) this.#tell(kind, data);
            });
        }
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
