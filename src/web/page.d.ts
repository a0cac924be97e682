// Types which several modules of the page share. Only `tsc` reads this file (tests/page/check.sh); it is not served. The types of
// the API's answers are made from docs/openapi.json.

/** Content of an element: nodes, texts, lists of them; nothing for `null`, `undefined` and `false`. */
type Child = Node | string | number | null | undefined | false | Child[];

/** Attributes and listeners of an element (dom.js). */
interface Props {
    on?: Record<string, (event: any) => void>;
    data?: Record<string, string | number>;
    [name: string]: unknown;
}

/** Outcome of an event, as the stream announces a change of it. */
type Outcome = Pick<Api.Event, "id" | "fate" | "why">;

interface StreamEvents {
    event: CustomEvent<Api.Event>;
    fate: CustomEvent<Outcome>;
    count: CustomEvent<Api.Counts>;
    state: CustomEvent<unknown>;
    link: CustomEvent<"open" | "lost" | "asleep">;
}

/** The live stream, as views see it (api.js). */
interface LiveStream {
    addEventListener<K extends keyof StreamEvents>(kind: K, listener: (event: StreamEvents[K]) => void, options?: AddEventListenerOptions): void;
}

/** What a view gives back. `placed`: it has restored its scroll position. */
interface Shown {
    title: string;
    placed?: boolean;
    leave?: () => void;
}

/** Draws a view below `root`. `id`: of the event in the address. */
type Show = (root: HTMLElement, params: URLSearchParams, page: { id: string; stream: LiveStream }) => Shown;

/** A moment as the API writes it. */
type When = string | number | null | undefined;

/** Part of a foreign text (text.js). */
type Part = { text: string } | Unseen;

/** A character that cannot be seen, or so many marks upon one letter. */
type Unseen = { char: string; code?: number; marks?: number };

/** How the server is asked (api.js). */
interface Question {
    open?: boolean;
    method?: string;
    body?: unknown;
    params?: URLSearchParams;
    signal?: AbortSignal;
}

/** Takes each message of the stream: its kind and its text. */
type Hear = (kind: string, detail: string) => void;

/** What holds the stream: it takes "open", "here" and "close". */
interface Wire {
    say(word: string): void;
}

/** Changed lines of a text (diff.js). */
interface Hunk {
    from: number;
    to: number;
    lines: { sign: string; text: string }[];
}
