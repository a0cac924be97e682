// The live page of the real binary, in a real browser: what is posted is seen, what is clicked happens.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faults, launch, mind, shot } from "./browser.mjs";
import { device, serve } from "./foghorn.mjs";

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

/** A test with a Foghorn of its own, at which nothing may go wrong. */
function on(name, options, body) {
    test(name, { timeout: 120_000 }, async () => {
        const foghorn = await serve(options.rules ?? RULES, options);
        const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options.context });
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
        await go("#/live");
        await rows(page).nth(49).waitFor();
        for (const count of [100, 120]) {
            await page.getByRole("button", { name: "Older", exact: true }).click();
            await page.waitForFunction((n) => document.querySelectorAll("ol.events > li").length === n, count);
        }
        const names = await rows(page).locator(".where").allTextContents();
        assert.equal(new Set(names).size, 120);
        assert.ok(await page.getByRole("button", { name: "Older", exact: true }).isHidden());
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
        await table.getByRole("row", { name: /netops/ }).getByText(/503/).waitFor();
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
        const end = page.getByRole("button", { name: /^End silence/ });
        await end.click();
        await end.click();
        await page.getByText("Nothing is silenced.").waitFor();
        await foghorn.post("device-events", [device("AP_CONNECTED", "ap-kitchen")]);
        await page.getByText("Nothing is open.").waitFor({ timeout: 30_000 });
        await page.getByRole("table", { name: "Destinations" }).getByText("netops").waitFor();
        await page.getByRole("region", { name: "Sources" }).getByText("mist").waitFor();
    });

    on("noise: what was told and kept quiet", {}, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen"), device("AP_CONFIGURED", "ap-attic")]);
        await go("#/noise");
        await page.locator("svg.chart").first().waitFor();
        await page.getByRole("table", { name: "By rule" }).getByText("AP unreachable").waitFor();
        await page.getByRole("link", { name: "ap-kitchen" }).waitFor();
    });
});

for (const [look, context] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, phone: { viewport: { width: 360, height: 740 } } })) {
    on(`every view is whole and accessible, ${look}`, { context }, async ({ foghorn, page, go }) => {
        await foghorn.post("device-events", [device("AP_DISCONNECTED", "ap-kitchen"), device("AP_CONFIGURED", "ap-attic", { text: "<script>alert(1)</script>" })]);
        for (const hash of ["#/live", "#/event/2.1", "#/now", "#/noise"]) {
            await go(hash);
            await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
            assert.deepEqual(await faults(page), [], hash);
            assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${hash} is too wide`);
        }
    });
}
