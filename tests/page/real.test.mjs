// The live page of the real binary, in a real browser: what is posted is seen, what is clicked happens.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { context as opened, faults, launch, mind, shot, sure, TEST, until } from "./browser.mjs";
import { device, hashed, serve } from "./foghorn.mjs";

const RULES = (chat) => `destinations:
  slack:
    slack: {url: "${chat}/services/T0/B0/x"}
  netops:
    teams: {url: "${chat}/teams/netops"}
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    group_wait: 0s
  - name: Radar
    match: {type: AP_RADAR_DETECTED}
    group_wait: 0s
tests:
  - name: an AP that is gone is told
    events:
      - {at: 0s, type: AP_DISCONNECTED, device: ap-kitchen, site: Home}
    expect:
      - {rule: AP unreachable, reason: first}
`;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Waits until the server has judged so many events: they can be listed then. */
const judged = (foghorn, count) => until(`${count} events are judged`, async () => {
    const metrics = await (await fetch(`${foghorn.url}/metrics`)).text();
    const sum = (name) => [...metrics.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"))].reduce((all, [, value]) => all + Number(value), 0);
    return sum("foghorn_events_total") === count && sum("foghorn_judged_seq") >= sum("foghorn_journal_last_seq");
});

/** A test with a Foghorn of its own, at which nothing may go wrong. */
function on(name, options, body) {
    test(name, TEST, async () => {
        const foghorn = await serve(options.rules ?? RULES, options);
        const context = await opened(browser, options.context);
        const page = await context.newPage();
        const wrong = mind(page, foghorn.url);
        const go = async (hash) => {
            await page.goto(`${foghorn.url}/${hash}`);
            await page.locator("main .view").waitFor();
        };
        try {
            await body({ foghorn, page, go, wrong, context });
            assert.deepEqual(wrong, []);
        } catch (error) {
            error.message += `\n--- the server's log\n${foghorn.log.join("\n")}`;
            throw error;
        } finally {
            await context.close();
            await foghorn.close();
        }
    });
}

const rows = (page) => page.locator("ol.events > li");
const row = (page, type, name) => rows(page).filter({ hasText: type }).filter({ hasText: name }).first();

const field = (page) => page.getByLabel("Password");
const button = (page, name) => page.getByRole("button", { name, exact: true });
const editor = (page) => page.getByLabel("The rules, to edit");
const edit = (rules) => (chat) => `server: {edit_rules: true}\n${rules(chat)}`;

describe("the real page", () => {
    on("shows what comes as it comes, with what became of it, and finds it again", {}, async ({ foghorn, page, go }) => {
        await go("#/live");
        await page.getByText("Nothing has come yet.").waitFor();
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen", { text: "lost its way" }), device("AP_CONFIGURED", "ap-attic")]);
        await row(page, "AP_DISCONNECTED", "ap-kitchen").locator(".fate.told").waitFor();
        await row(page, "AP_CONFIGURED", "ap-attic").locator(".fate.unmatched").waitFor();
        await page.getByRole("button", { name: "Pause" }).click();
        await foghorn.post("device-events", [device("AP_RADAR_DETECTED", "ap-roof")]);
        await page.getByRole("button", { name: "1 new event while paused: show the newest" }).click();
        await row(page, "AP_RADAR_DETECTED", "ap-roof").waitFor();
        for (const [label, value, found] of [["Topic", "device-events", 3], ["Type", "AP_CONFIGURED", 1], ["Site", "Home", 3], ["Device", "ap-roof", 1], ["Rule", "AP unreachable", 1]]) {
            await page.getByText(/^Filters/).click({ trial: true });
            if (!(await page.locator("details.filters").getAttribute("open") !== null)) await page.getByText(/^Filters/).click();
            await page.getByLabel(label, { exact: true }).fill(value);
            await page.waitForFunction((n) => document.querySelectorAll("ol.events > li").length === n && !document.querySelector("[aria-busy=true]"), found);
            await page.getByRole("button", { name: "Clear all" }).click();
            await rows(page).nth(2).waitFor();
        }
        await page.locator(".fates").getByRole("button", { name: /^told/ }).click();
        await page.waitForFunction(() => document.querySelectorAll("ol.events > li").length === 2);
        await page.locator(".fates").getByRole("button", { name: /^all/ }).click();
        await page.getByLabel("Search", { exact: true }).fill("lost w");
        await page.waitForFunction(() => document.querySelectorAll("ol.events > li").length === 1);
        assert.equal(foghorn.chat.taken.length, 4);
    });

    on("pages back through what is stored", {}, async ({ foghorn, page, go }) => {
        for (let n = 0; n < 12; n += 1) {
            await foghorn.post("device-events", Array.from({ length: 10 }, (_, i) => device("AP_CONFIGURED", `ap-${n * 10 + i}`, { n: n * 10 + i }, 120 - n)));
        }
        await judged(foghorn, 120);
        await go("#/live");
        await rows(page).first().waitFor();
        // A page is what the server finds in a moment: on a busy machine there are more of them.
        const older = page.getByRole("button", { name: "Older", exact: true });
        let pages = 0;
        for (let shown = await rows(page).count(); shown < 120; shown = await rows(page).count()) {
            await older.click();
            await page.waitForFunction((n) => document.querySelectorAll("ol.events > li").length > n, shown);
            pages += 1;
        }
        assert.ok(pages >= 2);
        const names = await rows(page).locator(".where").allTextContents();
        assert.equal(names.length, 120);
        assert.equal(new Set(names).size, 120);
        await older.waitFor({ state: "hidden" });
    });

    on("one event: as sent, what was decided by which line, what was said and how it went", {}, async ({ foghorn, page, go }) => {
        foghorn.chat.answers.set("/teams/netops", [503, "busy"]);
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen", { text: "lost its way" })]);
        await go("#/live");
        await row(page, "AP_DISCONNECTED", "ap-kitchen").getByRole("link").first().click();
        await page.getByRole("heading", { level: 1, name: "AP_DISCONNECTED · ap-kitchen" }).waitFor();
        await page.getByText(/rules\.yaml, line 7/).first().waitFor();
        await page.locator(".preview.slack").getByText("ap-kitchen").first().waitFor();
        await page.locator(".preview.teams").getByText("ap-kitchen").first().waitFor();
        const table = page.getByRole("table", { name: "Deliveries" });
        await table.getByRole("row", { name: /slack.*delivered/ }).waitFor();
        await table.getByRole("row", { name: /netops/ }).getByText(/503/).first().waitFor();
        assert.match(await page.locator(".json").textContent(), /"text": "lost its way"/);
        assert.match(await page.getByRole("region", { name: "Rule and test, as YAML" }).textContent(), /condition: ap_offline/);
        await shot(page, "real-event", { fullPage: true });
    });

    on("now: what is open; a silence made and ended", {}, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen")]);
        await go("#/now");
        await page.locator(".incidents .card").getByText("ap-kitchen").waitFor();
        await page.getByRole("button", { name: "Silence AP unreachable" }).click();
        await page.getByLabel("Who are you?").fill("anna");
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("It is in force.").waitFor();
        await page.locator(".silences .cards").getByText("ap-kitchen").waitFor();
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen", { reason: "again" })]);
        await sure(page.getByRole("button", { name: /^End silence/ }));
        await page.getByText("Nothing is silenced.").waitFor();
        await foghorn.post("device-events", [device("AP_CONNECTED", "ap-kitchen")]);
        await page.getByText("Nothing is open.").waitFor();
        await page.getByRole("table", { name: "Destinations" }).getByText("netops").waitFor();
        await page.getByRole("region", { name: "Sources" }).getByText("mist").waitFor();
    });

    on("a message that was refused is a dead letter: sent again, and discarded", {}, async ({ foghorn, page, go }) => {
        foghorn.chat.answers.set("/services/T0/B0/x", [400, "invalid_blocks"]);
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen")]);
        await go("#/now");
        const letters = page.getByRole("table", { name: "Dead letters" });
        const again = letters.getByRole("button", { name: /Send again: / });
        await again.waitFor();
        const first = await letters.locator("tbody tr").first().elementHandle();
        await sure(again);
        // The chat still refuses it: it is one again, under another number, in another row.
        await page.waitForFunction(() => document.activeElement.blur() || true);
        await page.waitForFunction((row) => !row.isConnected, first);
        const discard = letters.getByRole("button", { name: /Discard: / });
        await discard.waitFor();
        await sure(discard);
        await page.getByText("Every message was delivered, or still may be.").waitFor();
        assert.equal(foghorn.chat.taken.filter(({ path }) => path.startsWith("/services")).length, 0);
    });

    on("a message is sent again, to one of whom it went to", {}, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen")]);
        await go("#/live");
        await row(page, "AP_DISCONNECTED", "ap-kitchen").locator(".fate.told").waitFor();
        await row(page, "AP_DISCONNECTED", "ap-kitchen").getByRole("link").first().click();
        await page.getByRole("table", { name: "Deliveries" }).getByRole("row", { name: /netops.*delivered/ }).waitFor();
        const again = page.getByRole("button", { name: /Send again to netops$/ });
        await sure(again);
        const sent = () => foghorn.chat.taken.filter(({ path }) => path === "/teams/netops");
        await until("it is sent again", () => sent().length === 2);
        assert.deepEqual(sent()[0].body, sent()[1].body);
        assert.equal(foghorn.chat.taken.length, 3, "to no other");
    });

    on("a rule and a test made from an event hold when they are put into the file", { rules: edit(RULES) }, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("SW_PORT_DOWN", "sw-garage", { port_id: "ge-0/0/1" })]);
        await go("#/live");
        await row(page, "SW_PORT_DOWN", "sw-garage").getByRole("link").first().click();
        const yaml = await page.getByRole("region", { name: "Rule and test, as YAML" }).textContent();
        const [, rule, made] = /^rules:\n(.*)\n+tests:\n(.*)$/s.exec(yaml);
        await page.getByRole("link", { name: "Rules" }).click();
        await editor(page).waitFor();
        const before = await editor(page).inputValue();
        assert.ok(!before.includes("/services/T0"), "a webhook's URL is a secret");
        await editor(page).fill(before.replace("tests:\n", `${rule.trimEnd()}\ntests:\n${made.trimEnd()}\n`));
        await button(page, "Check").click();
        await page.getByText("2 of 2 tests passed").first().waitFor();
        await page.getByText(/0 → \d messages?/).waitFor();
        await button(page, "Apply").click();
        await page.getByText("Applied: the rules are in force.").waitFor();
        assert.ok(foghorn.rules().includes("/services/T0/B0/x"), "the secret is where it was");
        assert.equal(foghorn.previous(), edit(RULES)(foghorn.chat.url));
        await foghorn.post("device-events", [device("SW_PORT_DOWN", "sw-garage", { port_id: "ge-0/0/2" })]);
        await go("#/live?fate=pending");
        await row(page, "SW_PORT_DOWN", "sw-garage").waitFor();
    });

    on("a test made from any event passes, whatever is ticked and whoever told of it", { rules: edit(RULES) }, async ({ foghorn, page, go }) => {
        const [one, attic, garage] = ["ap-kitchen", "ap-attic", "sw-garage"];
        await foghorn.post("device-events", [
            device("AP_DISCONNECTED", one, { reason: "power", model: "AP45" }), device("AP_RADAR_DETECTED", attic), device("AP_CONFIGURED", attic),
            device("SW_PORT_UP", garage, { port_id: "ge-0/0/1" }),
        ]);
        await go("#/live");
        await row(page, "AP_DISCONNECTED", one).locator(".fate.told").waitFor();
        const failed = await page.evaluate(async () => {
            const { ruleAndTest, telling } = await import("/page/yaml.js");
            const json = (path, how) => fetch(`api/v1/${path}`, how).then((answer) => answer.json());
            const { csrf } = await json("me");
            const { text } = await json("rules");
            const made = new Set();
            for (const { id } of (await json("events")).events) {
                const event = await json(`events/${id}?decisions=no`);
                const fields = telling(event);
                const choices = [fields.filter(([, , on]) => on), fields, ...fields.map((field) => [field])];
                for (const chosen of choices) made.add(ruleAndTest(event, chosen.map(([field]) => field)));
            }
            const wrong = [];
            for (const yaml of made) {
                const [, rule, test] = /^rules:\n(.*?)\n+tests:\n(.*)$/s.exec(yaml);
                const body = JSON.stringify({ text: text.replace(/tests:\n[^]*/, () => `${rule}\ntests:\n${test}`) });
                const found = await json("rules/check", { method: "POST", body, headers: { "x-csrf-token": csrf, "content-type": "application/json" } });
                const worst = [...(found.problems ?? [found]).filter((problem) => problem.severity !== "warning"), ...(found.tests ?? []).filter((test) => !test.passed)];
                if (worst.length) wrong.push(`${yaml}\n${JSON.stringify(worst)}`);
            }
            return { wrong, made: made.size };
        });
        assert.ok(failed.made >= 15, String(failed.made));
        assert.equal(failed.wrong.join("\n\n"), "");
    });

    on("the first look is light, however much the newest events say", {}, async ({ foghorn, page, context }) => {
        const words = "lost the connection to the cloud after the uplink went away ".repeat(3).slice(0, 160);
        await foghorn.post("device-events", Array.from({ length: 60 }, (_, i) => device("AP_DISCONNECTED", `ap-in-a-very-far-corner-${i}`, { text: words })));
        await judged(foghorn, 60);
        const devtools = await context.newCDPSession(page);
        await devtools.send("Network.enable");
        let bytes = 0;
        const loading = new Set();
        // The end of a worker's script is told elsewhere.
        devtools.on("Network.requestWillBeSent", ({ requestId, request }) => request.url.endsWith("/shared.js") || loading.add(requestId));
        devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => loading.delete(requestId) && (bytes += encodedDataLength));
        await page.goto(`${foghorn.url}/`);
        await rows(page).first().waitFor();
        await page.locator("#link.open").waitFor();
        await until("all that was asked for is there", () => loading.size === 0);
        assert.ok(bytes > 50_000 && bytes < 92_000, `${bytes} bytes`);
    });

    on("rules that are wrong say where, and change nothing", { rules: edit(RULES) }, async ({ foghorn, page, go }) => {
        await go("#/rules");
        const before = await editor(page).inputValue();
        await editor(page).fill(before.replace("group_wait: 0s", "grupo_wait: 0s"));
        await button(page, "Check").click();
        await page.getByText(/did you mean .?group_wait/).first().waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        assert.equal(foghorn.rules(), edit(RULES)(foghorn.chat.url));
    });

    const password = (chat) => `server: {password: "env:FOGHORN_HASH"}\n${RULES(chat)}`;
    on("with a password one logs in, and out", { rules: password, env: { FOGHORN_HASH: hashed("a long enough one") } }, async ({ foghorn, page, go, wrong, context }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen")]);
        await page.goto(foghorn.url);
        await field(page).fill("a wrong one");
        await page.keyboard.press("Enter");
        await page.getByText("That is not the password.").waitFor();
        assert.deepEqual(wrong.splice(0).filter((text) => !text.includes("401")), [], "the browser says so itself");
        assert.equal(await rows(page).count(), 0);
        await field(page).fill("a long enough one");
        await page.keyboard.press("Enter");
        await row(page, "AP_DISCONNECTED", "ap-kitchen").waitFor();
        const [cookie] = await context.cookies();
        assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
        await go("#/now");
        await page.getByText("Make a silence").click();
        await page.getByLabel("Site", { exact: true }).fill("Home");
        await button(page, "Silence").click();
        await page.getByText("It is in force.").waitFor();
        // Another tab goes on when one logs out and in again here.
        const other = await context.newPage();
        await other.goto(`${foghorn.url}/#/now`);
        await other.getByText("Make a silence").click();
        await button(page, "Log out").click();
        await field(page).waitFor();
        await field(page).fill("a long enough one");
        await page.keyboard.press("Enter");
        await button(page, "Log out").waitFor();
        await other.getByLabel("Site", { exact: true }).fill("Lab");
        await button(other, "Silence").click();
        await other.getByText("It is in force.").waitFor();
        await other.close();
        await button(page, "Log out").click();
        await field(page).waitFor();
        assert.equal((await fetch(`${foghorn.url}/api/v1/events`, { headers: { cookie: `${cookie.name}=${cookie.value}` } })).status, 401);
        assert.ok(!foghorn.log.some((line) => line.includes("long enough") || line.includes(cookie.value)));
        wrong.splice(0, wrong.length, ...wrong.filter((text) => !/40[13]/.test(text)));
    });

    on("what would help is looked for when asked", {}, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen"), device("AP_CONNECTED", "ap-kitchen")]);
        await go("#/noise");
        await button(page, "Look for changes that help").click();
        await page.getByText(/nothing|no change|suggest/i).first().waitFor();
    });

    on("noise: what was told and kept quiet", {}, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen"), device("AP_CONFIGURED", "ap-attic")]);
        await go("#/noise");
        await page.locator("svg.chart").first().waitFor();
        await page.getByRole("table", { name: "By rule" }).getByText("AP unreachable").waitFor();
        await page.getByRole("link", { name: "ap-kitchen" }).waitFor();
    });
});

on("every view is whole and accessible", {}, async ({ foghorn, page, go }) => {
    await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen"), device("AP_CONFIGURED", "ap-attic", { text: "<script>alert(1)</script>" })]);
    for (const hash of ["#/live", "#/event/2.1", "#/now", "#/noise", "#/rules"]) {
        await page.setViewportSize({ width: 1280, height: 900 });
        await go(hash);
        await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
        assert.deepEqual(await faults(page), [], hash);
        await page.setViewportSize({ width: 360, height: 740 });
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${hash} is too wide`);
    }
});
