// The pure functions of the page, without a browser: `node --test tests/page/unit.test.mjs`.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

/** As much of a document as the page needs to make elements; `String` of a node is its HTML. */
class Node {
    constructor(tag) {
        Object.assign(this, { tag, attributes: {}, dataset: {}, children: [], style: { setProperty: (name, value) => this.setAttribute("style", `${name}: ${value}`) } });
    }
    setAttribute(name, value) {
        this.attributes[name] = value;
    }
    addEventListener() {}
    append(...nodes) {
        this.children.push(...nodes);
    }
    get inner() {
        return this.children.map((child) => (child instanceof Node ? String(child) : escaped(child))).join("");
    }
    toString() {
        if (!this.tag) return this.inner;
        const attributes = Object.entries(this.attributes).map(([name, value]) => ` ${name}="${escaped(value)}"`).join("");
        return `<${this.tag}${attributes}>${["br", "hr"].includes(this.tag) ? "" : `${this.inner}</${this.tag}>`}`;
    }
}

const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

globalThis.Node = Node;
globalThis.document = {
    createElement: (tag) => new Node(tag),
    createElementNS: (_, tag) => new Node(tag),
    createTextNode: (text) => {
        const node = new Node("");
        node.append(text);
        return node;
    },
};

const load = (name) => import(`../../src/web/page/${name}.js`);
const { fits, newer } = await load("filter");
const { Tally } = await load("tally");
const { asText, codeName, cut, number, parts, plural } = await load("text");
const { parse, plain, utc } = await load("markup");
const { markdown, mrkdwn, slack } = await load("chat");
const { unified } = await load("diff");
const { alsoTold, ruleAndTest, scalar, telling } = await load("yaml");
const { tree } = await load("json");
const { ago, duration } = await load("elapsed");
const { moment, time } = await load("time");
const { request } = await load("silences");
const { exact } = await load("text");
const { marks, roof } = await load("chart");
const { table } = await load("pieces");
const { words } = await load("dom");

const html = (nodes) => [nodes].flat(Infinity).map(String).join("");

const EVENT = {
    id: "12.0", at: "2026-01-05T12:00:00Z", received_at: "2026-01-05T12:00:01Z", topic: "device-events", type: "AP_DISCONNECTED", condition: "ap_offline", phase: "open",
    severity: "warning", site: "Home", site_id: "7a1b", device: "ap-roof", device_mac: "02ab00000010", fate: "told", why: null, rules: ["AP unreachable"], text: null,
    raw: { reason: "power", model: "AP45" }, decisions: [], messages: [],
};

describe("filters", () => {
    const passes = (query, event = EVENT) => fits(event, new URLSearchParams(query));

    test("an event passes if every filter is its whole value, whatever the case", () => {
        for (const query of ["", "site=home", "site=7a1b", "device=AP-Roof", "type= ap_disconnected ", "rule=ap+unreachable", "fate=told&topic=device-events", "fate="]) assert.ok(passes(query), query);
        for (const query of ["site=hom", "device=ap", "rule=unreachable", "fate=told&topic=alarms", "type=AP"]) assert.ok(!passes(query), query);
    });

    test("a MAC address is one, however it is written; nothing is no MAC address", () => {
        for (const mac of ["02ab00000010", "02:AB:00:00:00:10", "02-ab-00-00-00-10", "02ab.0000.0010"]) assert.ok(passes({ device: mac }), mac);
        assert.ok(!passes("device=-", { ...EVENT, device: null, device_mac: null }));
    });

    test("words are the server's", () => assert.ok(passes("q=nothing+like+it")));

    test("IDs are compared as numbers, the place in the POST last", () => {
        assert.ok(newer("10.0", "9.7") && newer("9.10", "9.9") && !newer("9.9", "9.9") && !newer("9.0", "10.0"));
    });
});

describe("the tally", () => {
    /** Each step: what the stream sends, then the total and the rate of a count; returns what was left out at each. */
    function left(...steps) {
        const tally = new Tally();
        const out = steps.map(([heard, total, rate]) => {
            for (let n = 0; n < heard; n += 1) tally.hear();
            return tally.count(total, rate);
        });
        return { out, even: tally.even };
    }

    test("nothing is left out where the stream sends all", () => {
        assert.deepEqual(left([3, 103, 3], [5, 108, 5], [0, 108, 0]), { out: [0, 0, 0], even: true });
    });

    test("what was counted may be sent until the next count", () => {
        assert.deepEqual(left([0, 100, 0], [0, 104, 4], [4, 104, 0]), { out: [0, 0, 0], even: true });
        assert.deepEqual(left([0, 100, 0], [0, 104, 4], [0, 104, 0]), { out: [0, 0, 4], even: true });
    });

    test("of a burst all but a sample is left out at once", () => {
        assert.deepEqual(left([0, 100, 0], [20, 1_100, 1_000]), { out: [0, 960], even: false });
        assert.deepEqual(left([0, 100, 0], [20, 1_100, 1_000], [0, 1_100, 0]), { out: [0, 960, 20], even: true });
    });

    test("a total that shrinks, of another server, leaves nothing out", () => {
        assert.deepEqual(left([0, 100, 0], [0, 5, 0]).out, [0, 0]);
    });

    test("what came without a stream is not counted", () => {
        const tally = new Tally();
        tally.count(100, 0);
        tally.reset();
        assert.equal(tally.count(5_000, 2), 0);
    });
});

describe("text", () => {
    test("numbers and plurals", () => {
        assert.deepEqual([number(1_204_332), number(NaN), number("5"), number(undefined)], ["1,204,332", "?", "?", "?"]);
        assert.deepEqual([plural(1, "event"), plural(0, "event"), plural(1_000, "delivery", "deliveries")], ["1 event", "0 events", "1,000 deliveries"]);
    });

    test("is cut between characters", () => {
        assert.deepEqual([cut("abc", 3), cut("abcd", 3), cut("ab🔔", 3)], ["abc", "abc", "ab"]);
    });

    test("whatever came is a text", () => {
        assert.deepEqual([asText(null), asText(undefined), asText("x"), asText(0), asText({ a: [1] })], ["", "", "x", "0", '{"a":[1]}']);
    });

    test("what cannot be seen is a part of its own", () => {
        assert.deepEqual(parts("plain مرحبا 🔔"), [{ text: "plain مرحبا 🔔" }]);
        assert.deepEqual(parts("a\u202eb\n"), [{ text: "a" }, { code: 0x202e, char: "\u202e" }, { text: "b" }, { code: 10, char: "\n" }]);
        assert.deepEqual(parts("❤\ufe0f\u200b").map((part) => part.text ?? codeName(part.code)), ["❤\ufe0f", "U+200B"]);
        assert.deepEqual(parts(`e${"\u0301".repeat(9)}`), [{ text: `e${"\u0301".repeat(4)}` }, { marks: 5, char: "\u0301".repeat(5) }]);
    });

    test("the server's words have code between backticks", () => {
        assert.equal(html(words("set `server.password`, or `half")), "<bdi>set <code>server.password</code>, or `half</bdi>");
        assert.equal(html(words("abcdef", { max: 3 })), "<bdi>abc…</bdi>");
    });
});

describe("markup", () => {
    test("is read as the server reads it", () => {
        const spans = parse("**AP** `x\\`y` [Mist](https://manage.mist.com/a\\)b) <time:0> \\*\\*no\\*\\* 2 * 3");
        assert.deepEqual(spans.map((s) => s.text), ["AP", " ", "x`y", " ", "Mist", " ", "1970-01-01 00:00:00 UTC", " **no** 2 * 3"]);
        assert.equal(spans[4].url, "https://manage.mist.com/a)b");
        assert.deepEqual(spans.map((s) => s.bold), [true, ...Array(7).fill(false)]);
        for (const odd of ["**", "`", "``", "[x](javascript:alert(1))", "[x](", "<time:x>", "<!channel>", "a\\"]) {
            assert.deepEqual(parse(odd), [{ what: "text", text: odd, bold: false }], odd);
        }
    });

    test("without its marks", () => {
        assert.equal(plain("**ap-roof** is `offline` since <clock:43200>"), "ap-roof is offline since 12:00 UTC");
        assert.deepEqual([utc(0, "clock"), utc(1e15)], ["00:00 UTC", "1000000000000000"]);
    });
});

describe("previews", () => {
    const link = (href, text) => `<a href="${href}" target="_blank" rel="noopener noreferrer">${text}</a>`;

    test("marks mean what they mean in Slack", () => {
        const said = {
            "*b* _i_ ~s~ `*c*`": "<strong>b</strong> <em>i</em> <s>s</s> <code>*c*</code>",
            "*b _i_*": "<strong>b <em>i</em></strong>",
            "a*b* c": "a*b* c",
            "a*b*c 2 * 3 * 4 my_ap_1": "a*b*c 2 * 3 * 4 my_ap_1",
            "&lt;x&gt; &amp;amp;": "&lt;x&gt; &amp;amp;",
            "a\n&gt; q": 'a<br><q class="quoted">q</q>',
            "<https://a.example/?x=1&amp;y=2|l &amp; m>": link("https://a.example/?x=1&amp;y=2", "l &amp; m"),
            "see https://a.example now": `see ${link("https://a.example", "https://a.example")} now`,
            "http\u200b://a.example": "http://a.example",
            "<javascript:alert(1)|x>": "<span>x</span>",
            "<!here>": '<strong class="mention" title="this would call people">!here</strong>',
            "<!date^x^{time}|then>": "<span>then</span>",
        };
        for (const [text, drawn] of Object.entries(said)) assert.equal(html(mrkdwn(text)), drawn, text);
        assert.match(html(mrkdwn("<!date^0^{date_num}|x>")), /^<time datetime="1970-01-01T00:00:00.000Z"/);
    });

    test("marks mean what they mean in Teams", () => {
        const said = {
            "**b** *i* _i_ \\*n\\*": "<p><strong>b</strong> <em>i</em> <em>i</em> *n*</p>",
            "a\nb\n\nc": "<p>a b</p><p>c</p>",
            "- a\n- **b**": "<ul><li>a</li><li><strong>b</strong></li></ul>",
            "1. a\n2. b": "<ol><li>a</li><li>b</li></ol>",
            "[l \\] m](https://a.example/x)": `<p>${link("https://a.example/x", "l ] m")}</p>`,
            "[x](javascript:alert(1)) \\&lt; &lt;": "<p>[x](javascript:alert(1)) &amp;lt; &lt;</p>",
            "{{DATE(nonsense, SHORT)}} `c` ~~s~~": "<p>{{DATE(nonsense, SHORT)}} `c` ~~s~~</p>",
        };
        for (const [text, drawn] of Object.entries(said)) assert.equal(html(markdown(text)), drawn, text);
        assert.match(html(markdown("{{DATE(2026-01-05T12:00:00Z, SHORT)}}")), /^<p><time datetime="2026-01-05T12:00:00.000Z"/);
    });

    test("what is not known is named; a color is one or nothing", () => {
        assert.match(html(slack({ attachments: [{ color: "red;background:url(x)", blocks: [{ type: "image" }, null] }] })), /<div class="bar"><p class="strange">Block <code>image<\/code> is not shown here<\/p>/);
        assert.match(html(slack({ attachments: [{ color: "#d0021b", blocks: [{ type: "divider" }] }] })), /style="border-left-color: #d0021b"><hr>/);
    });
});

describe("the difference of two texts", () => {
    const lines = (n) => Array.from({ length: n }, (_, i) => `line ${i + 1}`);

    test("is shown with what stands around it", () => {
        assert.deepEqual(unified("a\nb", "a\nb"), []);
        assert.deepEqual(unified("", "a"), [{ from: 1, to: 1, lines: [{ sign: "-", text: "" }, { sign: "+", text: "a" }] }]);
        const before = lines(30);
        const now = [...before];
        now.splice(20, 1, "new", "newer");
        now.splice(1, 1);
        const hunks = unified(before.join("\n"), now.join("\n"));
        assert.deepEqual(hunks.map(({ from, to, lines: all }) => [from, to, all.map((l) => l.sign).join("")]), [[1, 1, " -   "], [18, 17, "   -++   "]]);
    });

    test("makes the one of the other", () => {
        const pairs = [["a\nb\nc\nd", "b\nx\nd\na"], ["x\n".repeat(9), "x\n".repeat(3)], ["1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n3\n4\n5\n6\n7\n8\n9\n9"]];
        for (const [a, b] of pairs) {
            const out = a.split("\n");
            for (const { from, lines: all } of unified(a, b).toReversed()) {
                const old = all.filter((l) => l.sign !== "+").map((l) => l.text);
                assert.deepEqual(out.splice(from - 1, old.length, ...all.filter((l) => l.sign !== "-").map((l) => l.text)), old);
            }
            assert.equal(out.join("\n"), b);
        }
    });

    test("where the smallest would take long, the middle is one change", () => {
        const [a, b] = ["a", "b"].map((c) => Array.from({ length: 2_500 }, (_, i) => `${c}${i}`).join("\n"));
        const [{ lines: all }] = unified(a, b);
        assert.equal(all.map((l) => l.sign).join(""), "-".repeat(2_500) + "+".repeat(2_500));
    });
});

describe("a rule from an event", () => {
    test("YAML scalars stay text", () => {
        const said = { Home: "Home", true: '"true"', No: '"No"', "a: b": '"a: b"', "*": '"*"', "02ab00000010": '"02ab00000010"', "a#b": '"a#b"', "": '""', "a\u202eb": '"a\\u202Eb"', "\u{e0041}": '"\\U000E0041"', "a b ": '"a b "' };
        for (const [value, yaml] of Object.entries(said)) assert.equal(scalar(value), yaml);
    });

    test("looks for the condition of what opens, for the type of what ends", () => {
        assert.deepEqual(telling(EVENT).filter(([, , on]) => on), [["condition", "ap_offline", true]]);
        assert.deepEqual(telling({ ...EVENT, phase: "close" }).filter(([, , on]) => on), [["type", "AP_DISCONNECTED", true, true]]);
        assert.deepEqual(telling({ ...EVENT, site: " x", device: "a\nb" }).map(([field]) => field), ["condition", "topic", "severity", "reason", "model"]);
    });

    test("comes with a test that expects it", () => {
        const text = ruleAndTest({ ...EVENT, rules: [] }, ["condition", "site"]);
        assert.equal(text, `rules:
  - name: AP offline at Home
    match:
      condition: ap_offline
      site: Home
    for: 3m
    severity: warning

tests:
  - name: AP offline at Home is told
    events:
      - {at: 0s, type: AP_DISCONNECTED, device: ap-roof, site: Home}
    expect:
      - {at: 3m10s, rule: AP offline at Home, reason: first}
`);
    });

    test("expects the messages of other rules, in their order", () => {
        const first = { rule: "AP unreachable", reason: "first", at: "2026-01-05T12:00:31Z" };
        assert.deepEqual(alsoTold({ ...EVENT, messages: [first] }), [{ rule: "AP unreachable", after: 30 }]);
        assert.deepEqual(alsoTold({ ...EVENT, why: "muted" }), []);
        assert.match(ruleAndTest({ ...EVENT, messages: [first] }, ["condition"]), /expect:\n {6}- \{rule: AP unreachable, reason: first\}\n {6}- \{at: 3m10s/);
        const second = { rule: "Roof", reason: "first", at: "2026-01-05T12:00:11Z" };
        const both = ruleAndTest({ ...EVENT, rules: ["AP unreachable", "Roof"], messages: [first, second] }, ["condition"]);
        assert.match(both, /expect:\n {6}- \{rule: Roof, .*\n {6}- \{rule: AP unreachable, .*\n {6}- \{at: 3m10s/);
        assert.match(ruleAndTest({ ...EVENT, messages: [{ ...first, at: "2026-01-05T13:00:00Z" }] }, ["condition"]), /expect:\n {6}- \{at: 3m10s.*\n {6}- \{rule: AP unreachable/);
    });
});

describe("a silence", () => {
    const form = (fields) => ({ get: (name) => fields[name] ?? null });

    test("a name fits itself alone", () => {
        assert.deepEqual(["ap-roof", "ap-*", "/roof/", "/", "a/b"].map(exact), ["ap-roof", "/^ap-\\*$/", "/^/roof/$/", "/^/$/", "a/b"]);
    });

    test("says what is asked, or what is wrong", () => {
        const asked = request(form({ site: "Lab", device: "a, b", lasts: "4h", author: "anna", comment: "racks" }));
        assert.deepEqual(asked, { match: { site: "Lab", device: ["a", "b"] }, for: "4h", author: "anna", comment: "racks" });
        assert.deepEqual(request(form({ all: "on", lasts: "resolved" })), { all: true, until: "resolved", author: "someone on the page", comment: "" });
        assert.match(request(form({ lasts: "1h" })).problem, /^Say what/);
        assert.match(request(form({ all: "on", site: "Lab" })).problem, /contradict/);
        assert.match(request(form({ site: "Lab", lasts: "own", time: "2020-01-01T00:00" })).problem, /past/);
    });

    test("what was offered stays exact until it is changed", () => {
        const offered = { device: { text: "ap-*", values: ["02ab00000010"] } };
        assert.deepEqual(request(form({ device: "ap-*", lasts: "1h" }), offered).match, { device: "02ab00000010" });
        assert.deepEqual(request(form({ device: "ap-r*", lasts: "1h" }), offered).match, { device: "ap-r*" });
    });
});

describe("times", () => {
    test("durations", () => {
        assert.deepEqual([0, 999, 93_000, 3_600_000, 90_061_000, -5].map(duration), ["0 s", "0 s", "1 min 33 s", "1 h", "1 d 1 h", "0 s"]);
    });

    test("how long ago, or until then", () => {
        const at = (ms) => new Date(Date.now() + ms).toISOString();
        assert.match(ago(at(-61_500)), /^1 min [12] s ago$/);
        assert.match(ago(at(61_500)), /^in 1 min [01] s$/);
        assert.deepEqual([ago(null), ago(at(-5_000), "now"), moment("nonsense"), html(time(null))], ["never", "now", null, "<span>–</span>"]);
    });
});

test("an axis ends at a round number", () => {
    assert.deepEqual([0, 0.3, 3, 5, 7, 11, 22, 26, 99, 100, 401].map(roof), [1, 1, 3, 5, 8, 20, 25, 40, 100, 100, 500]);
    assert.deepEqual(marks([], 9), []);
});

test("JSON is a tree whose texts are escaped", () => {
    assert.match(html(tree({ "<b>": "a\u202e\n", n: 1, none: null, list: [] })), /^<div class="json"><details><summary>\{<span class="quiet"> 4 keys <\/span>\}<\/summary>/);
    assert.equal(html(tree("<\u202e\n>")), '<div class="json"><div class="leaf"><bdi class="string">"&lt;<span class="unseen" title="a character one cannot see: U+202E">U+202E</span>\\n&gt;"</bdi></div></div>');
});

test("a table names its columns in every cell", () => {
    const drawn = html(table("Rules", ["Rule", { name: "Told", right: true }], [["a", "1"]]));
    assert.match(drawn, /<th scope="col" role="columnheader">Rule<\/th><th scope="col" role="columnheader" class="right">Told<\/th>/);
    assert.match(drawn, /<th scope="row" role="rowheader">a<\/th><td role="cell" class="right"><span>1<\/span><\/td>/);
});
