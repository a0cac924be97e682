// The rules as the mock serves them: a file, and a server that finds in it what a test writes there.

export const TEXT = `# what matters at home
server: {edit_rules: true}
destinations:
  slack: {slack: {url: <hidden 1>}}
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    for: 3m
  - name: Switch unreachable
    match: {condition: switch_offline}
tests:
  - name: a blip says nothing
    events:
      - {at: 0s, type: AP_DISCONNECTED, device: ap-kitchen}
      - {at: 90s, type: AP_CONNECTED, device: ap-kitchen}
    expect: []
${Array.from({ length: 40 }, (_, i) => `  # line ${i}`).join("\n")}
`;

const TESTS = [
    { name: "a blip says nothing", line: 12, passed: true, text: null },
    { name: "a switch hides its APs", line: 30, passed: false, text: "    1. MISSING: nothing was said\n       expected  rule: <b>Switch</b> unreachable\n" },
];

/** What may be told of a week of traffic. */
const DIFF = {
    headline: "last 7 days: 212 -> 41 messages; would have missed: sw-garage 19 Nov 03:12 (4 min)",
    from: "2026-11-17T00:00:00Z", until: "2026-11-24T00:00:00Z", before: { config: "the rules in force", messages: 212 }, after: { config: "this text", messages: 41 },
    rules: [{ rule: "AP unreachable", before: 200, after: 30 }, { rule: "Switch unreachable", before: 12, after: 11 }, { rule: "DHCP fails", before: 3, after: 3 }],
    missed: [{ what: "switch_offline", rule: "Switch unreachable", severity: "critical", told_at: "2026-11-19T03:15:00Z", site_id: null, site: "Home", device_mac: null, device: "sw-garage", part: null, starts_at: "2026-11-19T03:12:00Z", ends_at: "2026-11-19T03:16:00Z", duration_s: 240 }],
    new: [], later: [], earlier: [], more: { missed: 0, new: 0, later: 0, earlier: 0 },
};

export function book(edit) {
    return { edit, text: TEXT, version: 1, failing: false, asked: [], differs: false, held: null, busy: false, stopped: 0, fails: false, empty: false };
}

/** An error where "oops" stands, a warning where "hmm" does; a test fails where "fails" does. */
function check(text) {
    const problems = text.split("\n").flatMap((line, i) => [
        ...(line.includes("oops") ? [{ line: i + 1, column: 1, severity: "error", message: "rule has no key `oops`", help: "did you mean \"for\"?" }] : []),
        ...(line.includes("hmm") ? [{ line: i + 1, column: 1, severity: "warning", message: "hmm is odd <script>", help: null }] : []),
    ]);
    const errors = problems.some((p) => p.severity === "error");
    return { problems, tests: errors ? [] : text.includes("fails") ? TESTS : TESTS.slice(0, 1), tests_ms: 4 };
}

/** What a text would have told, and nothing where nobody waits any more. `held`: a promise it waits for; `busy`: it is another's turn. */
async function tried(book, request, asked, say) {
    if (book.fails) return say({ error: "it takes too long", help: "compare a shorter time" }, 503);
    if (book.busy) return say({ error: "another one is under way", help: "try again soon" }, 503);
    const gone = new Promise((done) => request.socket.once("close", () => done(false)));
    const waits = !book.held || (await Promise.race([book.held.then(() => true), gone]));
    if (!waits) return book.stopped += 1;
    if (book.empty) return say({ ...DIFF, from: null, until: null });
    return say(asked.text.includes("for: 6m") ? { ...DIFF, headline: DIFF.headline.replace("41", "77") } : DIFF);
}

export async function answer(world, request, part, say) {
    const { book } = world;
    if (request.method === "GET") {
        const why_not = book.edit ? null : "to change the rules here, set `edit_rules: true` under `server:` in /etc/foghorn/rules.yaml and restart Foghorn";
        const { text, version, differs } = book;
        return say({ file: "/etc/foghorn/rules.yaml", text, version: String(version), loaded_at: new Date(Date.now() - 3_600_000).toISOString(), differs, edit: book.edit, why_not, ...check(text) });
    }
    let body = "";
    for await (const piece of request) body += piece;
    const asked = JSON.parse(body);
    if (part === "rules/rehearse") return say({ text: asked.text });
    book.asked.push([`${request.method} ${part}`, asked]);
    const found = check(asked.text);
    if (part === "rules/check") return say(found);
    if (part === "replay-diff") return tried(book, request, asked, say);
    if (asked.version !== String(book.version)) return say({ error: "the file has changed meanwhile", help: "load it again and make your change to that", version: String(book.version) }, 409);
    if (!asked.despite_tests && found.tests.some((t) => !t.passed)) return say({ error: "tests of the text fail", help: "nothing was changed", ...found }, 422);
    book.text = asked.text;
    book.version += 1;
    say({ version: String(book.version), reloaded: true, problems: found.problems });
}
