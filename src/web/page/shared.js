// The stream, for all windows of one browser: it has only six connections for one server, and each stream takes one. As a shared
// worker this holds one for all, as long as anybody looks. Windows say `open` and `close`, and now and then that they are still
// `here`: one that went without a word is forgotten.

const FORGET_MS = 60_000;

/** Holds the stream. Tells of each kind of message, and `link`: "open", "lost", or "refused", which ends it.
 * @param {string} address @param {Hear} tell */
export function hold(address, tell) {
    /** @type {EventSource | null} */
    let source = null;
    const close = () => {
        source?.close();
        source = null;
    };
    const open = () => {
        if (source) return;
        const mine = new EventSource(address);
        source = mine;
        mine.addEventListener("open", () => tell("link", "open"));
        mine.addEventListener("error", () => {
            const ended = mine.readyState === EventSource.CLOSED;
            if (ended) close();
            tell("link", ended ? "refused" : "lost");
        });
        for (const kind of ["event", "fate", "count", "state"]) mine.addEventListener(kind, (message) => tell(kind, message.data));
    };
    return { open, close };
}

/** For all windows that connect. */
function share() {
    /** Who looks, and when they were heard last. @type {Map<MessagePort, number>} */
    const looking = new Map();
    /** @type {string | null} */
    let link = null;
    const stream = hold("../api/v1/live", (kind, detail) => {
        if (kind === "link") link = detail;
        for (const port of looking.keys()) port.postMessage([kind, detail]);
    });
    const gone = (/** @type {MessagePort} */ port) => {
        looking.delete(port);
        if (looking.size) return;
        stream.close();
        link = null;
    };
    setInterval(() => {
        for (const [port, heard] of looking) if (performance.now() - heard > FORGET_MS) gone(port);
    }, FORGET_MS / 4);
    self.addEventListener("connect", (event) => {
        const [port] = /** @type {MessageEvent} */ (event).ports;
        port.addEventListener("message", ({ data }) => {
            if (data === "close") return gone(port);
            const isNew = !looking.has(port);
            looking.set(port, performance.now());
            if (isNew && link === "open") port.postMessage(["link", link]);
            if (isNew || data === "open") stream.open();
        });
        port.start();
    });
}

if ("onconnect" in self) share();
