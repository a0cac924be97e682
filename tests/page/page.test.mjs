// The live page in a real browser, as people use it: clicked through, by keyboard, in a burst, with events that mean harm.
// run.sh sets up what it needs.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { everyLook, faults, launch, open, shot, sure, TEST, until, work } from "./browser.mjs";
import { event, EVIL, incidents, SCRIPT } from "./world.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** A test on a page of its own, at which nothing may go wrong. */
function on(hash, options, name, body) {
    test(name, TEST, async () => {
        const opened = await open(browser, hash, options);
        try {
            await body(opened);
            assert.deepEqual(opened.wrong, []);
        } finally {
            await opened.close();
        }
    });
}

const rows = (page) => page.locator("ol.events > li");
/** The server counts, and the page has heard it: it knows how much there is in all. */
const counted = async (page, mock) => {
    await rows(page).first().waitFor();
    mock.count();
    await page.locator(".rate", { hasText: "0 a second" }).waitFor();
};

/** Does it while the page's clock stands still: a question of the page lasts four seconds, and a loaded machine may take longer. */
const standing = async (page, body) => {
    await page.clock.pauseAt(Date.now() + 1_000);
    await body();
    await page.clock.resume();
};

describe("live", () => {
    on("#/live", {}, "shows what is stored, newest first, each with its fate as a word", async ({ page }) => {
        await rows(page).nth(24).waitFor({ state: "attached" });
        assert.equal(await rows(page).count(), 25, "as many as there is room for");
        assert.equal(await rows(page).first().getAttribute("data-id"), "5000.0");
        const fates = await page.locator("ol.events .fate").allTextContents();
        assert.ok(fates.every((text) => /^(told|pending|suppressed|unmatched|duplicate)/.test(text)), String(fates));
        assert.equal(await page.locator("ol.events .fate svg").count(), 25);
    });

    on("#/live", {}, "puts what comes on top, and changes a row when its fate changes", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        mock.send("event", { ...event(9_002), fate: "pending" });
        await page.locator("ol.events > li:first-child[data-id='9002.0']").waitFor();
        mock.send("event", { ...event(9_002), fate: "told" });
        await page.locator("ol.events > li:first-child .fate.told").waitFor();
        assert.equal(await page.locator("li[data-id='9002.0']").count(), 1);
    });

    on("#/live", {}, "a fate that changes is said where its row stands, and under a keyboard too", async ({ page, mock }) => {
        const first = rows(page).first();
        await first.locator("a").focus();
        const id = await first.getAttribute("data-id");
        mock.send("fate", { id: "1.0", fate: "told", why: null });
        mock.send("fate", { id, fate: "suppressed", why: "ended_untold" });
        await first.getByText("over before told").waitFor();
        assert.match(await first.getAttribute("class"), /^row suppressed$/);
        assert.ok(await first.locator("a").evaluate((link) => link === document.activeElement), "it keeps the focus");
    });

    on("#/live", {}, "pauses, says how much came meanwhile, and goes on", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        await page.getByRole("button", { name: "Pause" }).click();
        assert.equal(await page.getByRole("button", { name: "Go on" }).getAttribute("aria-pressed"), null, "a name that changes says it all");
        for (let n = 0; n < 7; n += 1) mock.send("event", event(8_000 + n));
        await page.getByRole("button", { name: "7 new events while paused: show the newest" }).waitFor();
        assert.equal(await rows(page).first().getAttribute("data-id"), "5000.0");
        await page.getByRole("button", { name: "Go on" }).click();
        await page.locator("ol.events > li:first-child[data-id='8006.0']").waitFor();
    });

    on("#/live", {}, "leaves no gap behind a long pause", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        await page.getByRole("button", { name: "Pause" }).click();
        // As the real server, which has stored what it tells of.
        mock.world.next = 5_040;
        for (let n = 5_001; n <= 5_040; n += 1) mock.send("event", event(n));
        await page.getByRole("button", { name: "40 new events while paused: show the newest" }).waitFor();
        await page.getByRole("button", { name: "Go on" }).click();
        await page.locator("ol.events > li:first-child[data-id='5040.0']").waitFor();
        const ids = await rows(page).evaluateAll((list) => list.map((li) => Number.parseInt(li.dataset.id, 10)));
        assert.deepEqual(ids, ids.map((_, i) => 5_040 - i));
    });

    const ids = (page) => page.locator("ol.events > li[data-id]").evaluateAll((list) => list.map((li) => Number.parseInt(li.dataset.id, 10)));

    on("#/live", { server: { still: true } }, "what the stream left out of one large post is there a moment later, gap free", async ({ page, mock }) => {
        await counted(page, mock);
        mock.flood(100);
        mock.count();
        mock.count();
        await page.locator("ol.events > li:first-child[data-id='5100.0']").waitFor();
        await page.getByRole("button", { name: "Older", exact: true }).click();
        await page.locator("li[data-id='5001.0']").waitFor();
        const found = await ids(page);
        assert.deepEqual(found, found.map((_, i) => 5_100 - i));
        assert.equal(await page.locator(".gap").count(), 0);
    });

    on("#/live", { server: { still: true } }, "says in the list, while a burst lasts, how many are missing there, and shows them", async ({ page, mock }) => {
        await counted(page, mock);
        const burst = () => {
            mock.flood(60);
            mock.count();
        };
        burst();
        await page.locator(".gap").waitFor();
        assert.match(await page.locator(".gap").textContent(), /^\d+ events among those above are not shown: load them$/);
        assert.equal(await page.locator(".gap + li").getAttribute("data-id"), "5000.0");
        await page.getByRole("button", { name: "load them" }).click();
        await page.locator(".gap").waitFor({ state: "detached" });
        await page.locator("ol.events > li:first-child[data-id='5060.0']").waitFor();
        burst();
        await page.getByRole("button", { name: /new events?: show the newest/ }).waitFor();
        const first = (await ids(page))[0];
        assert.equal(first, 5_060, "what one reads stands still");
        await page.getByRole("button", { name: "Older", exact: true }).click();
        await page.waitForFunction(() => document.querySelectorAll("ol.events > li").length > 50);
        const found = await ids(page);
        assert.deepEqual(found, found.map((_, i) => first - i));
    });

    on("#/live", { server: { still: true } }, "counts while paused all that came, not only what it was told of", async ({ page, mock }) => {
        await counted(page, mock);
        await page.getByRole("button", { name: "Pause" }).click();
        mock.flood(1_000);
        mock.count();
        mock.count();
        await page.getByRole("button", { name: "1,000 new events while paused: show the newest" }).waitFor();
        await page.getByRole("button", { name: /show the newest/ }).click();
        await page.locator("ol.events > li:first-child[data-id='6000.0']").waitFor();
        const found = await ids(page);
        assert.deepEqual(found, found.map((_, i) => 6_000 - i));
    });

    on("#/live?site=Lab", { server: { still: true } }, "a filter finds what a burst did not tell, none missing between", async ({ page, mock }) => {
        await counted(page, mock);
        mock.flood(900);
        mock.count();
        // Of 5001 … 5900 every third is there.
        await page.locator("ol.events > li:first-child[data-id='5900.0'], ol.events > li:first-child[data-id='5899.0'], ol.events > li:first-child[data-id='5898.0']").waitFor();
        const found = await ids(page);
        assert.deepEqual(found, found.map((_, i) => found[0] - 3 * i));
    });

    on("#/live?q=5c:5b:35", {}, "asks the server which of what comes has the words", async ({ page, mock }) => {
        await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
        const asked = () => mock.world.asked.filter((path) => path.includes("/v1/events")).length;
        const before = asked();
        mock.send("event", event(5_001));
        await until("it asks the server", () => asked() > before);
    });

    on("#/live", {}, "does not move rows under someone who reads", async ({ page, mock }) => {
        await rows(page).nth(22).scrollIntoViewIfNeeded();
        mock.send("event", event(8_100));
        await page.getByRole("button", { name: "1 new event: show the newest" }).click();
        await page.waitForFunction(() => window.scrollY === 0);
    });

    on("#/live", {}, "searches and filters, and the address says how", async ({ page, mock }) => {
        await page.getByLabel("Search", { exact: true }).fill("radar");
        await page.waitForFunction(() => location.hash.includes("q=radar"));
        await page.waitForFunction(() => [...document.querySelectorAll("ol.events .type")].every((t) => t.textContent === "AP_RADAR_DETECTED"));
        await page.getByText("Filters").click();
        await page.getByLabel("Site").fill("Lab");
        await page.waitForFunction(() => location.hash.includes("site=Lab"));
        await page.waitForFunction(() => [...document.querySelectorAll("ol.events .where")].every((t) => t.textContent.endsWith("Lab")));
        mock.send("event", event(9_000));
        await page.getByRole("button", { name: "Clear all" }).click();
        await page.locator("li[data-id='5000.0']").waitFor();
        assert.equal(new URL(page.url()).hash, "#/live");
    });

    on("#/live?fate=told&device=ap-kitchen", {}, "shows by its address what was filtered by it", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        assert.deepEqual([...new Set(await page.locator("ol.events .fate").allTextContents())], ["told"]);
        assert.equal(await page.getByLabel("Device").inputValue(), "ap-kitchen");
        mock.send("event", { ...event(9_000), device: "other" });
        mock.send("event", { ...event(9_001), device: "AP-Kitchen", fate: "told" });
        await page.locator("ol.events > li:first-child[data-id='9001.0']").waitFor();
        assert.equal(await page.locator("li[data-id='9000.0']").count(), 0);
        await page.locator(".fates").getByRole("button", { name: /^all/ }).click();
        await page.waitForFunction(() => !location.hash.includes("fate"));
    });

    on("#/live?site=Lab", { server: { still: true } }, "asks for what fits a filter where the stream tells only a sample", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        mock.world.next = 5_100;
        mock.send("count", { total: 9, per_second: 1_000 });
        await page.locator("ol.events > li:first-child[data-id='5099.0']").waitFor();
        const ids = await rows(page).evaluateAll((list) => list.map((li) => Number.parseInt(li.dataset.id, 10)));
        assert.deepEqual(ids, [...ids].sort((a, b) => b - a));
        assert.equal(new Set(ids).size, ids.length);
    });

    on("#/live", {}, "pages back, gap and repeat free, and keeps the page small", async ({ page }) => {
        await rows(page).first().waitFor();
        const older = page.getByRole("button", { name: "Older", exact: true });
        const seen = new Set();
        for (let n = 0; n < 8; n += 1) {
            for (const id of await rows(page).evaluateAll((list) => list.map((li) => li.dataset.id))) seen.add(id);
            await older.click();
            await page.waitForFunction((least) => document.querySelector("ol.events > li:last-child").dataset.id === least, `${5_001 - 25 - 50 * (n + 1)}.0`);
        }
        assert.ok((await rows(page).count()) <= 300);
        assert.equal(seen.size, 375);
        assert.ok([...Array(375).keys()].every((n) => seen.has(`${5_000 - n}.0`)));
        await page.getByRole("button", { name: /show the newest/ }).click();
        await page.locator("li[data-id='5000.0']").waitFor();
    });

    on("#/live", {}, "what a burst pushed out can be read again by paging back", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        for (let n = 0; n < 15; n += 1) {
            for (let i = 0; i < 20; i += 1) mock.send("event", event(6_000 + n * 20 + i));
            await page.locator(`li[data-id='${6_019 + n * 20}.0']`).waitFor();
        }
        assert.equal(await rows(page).count(), 300);
        const last = Number.parseInt(await rows(page).last().getAttribute("data-id"), 10);
        await page.getByRole("button", { name: "Older", exact: true }).click();
        await page.locator(`li[data-id='${last - 1}.0']`).waitFor();
    });

    on("#/now", {}, "Back goes to the filter before, what was typed is one step", async ({ page }) => {
        await page.locator("nav").getByRole("link", { name: "Live" }).click();
        await rows(page).first().waitFor();
        await page.locator(".fates").getByRole("button", { name: /^told/ }).click();
        await page.waitForFunction(() => location.hash === "#/live?fate=told");
        const search = page.getByLabel("Search", { exact: true });
        for (const text of ["a", "ap", "ap_dis"]) {
            await search.fill(text);
            await page.waitForFunction((q) => location.hash.includes(`q=${q}&`), text);
        }
        await page.goBack();
        await page.waitForFunction(() => location.hash === "#/live?fate=told");
        await page.waitForFunction(() => document.querySelector("#q").value === "" && document.querySelectorAll("ol.events > li").length > 20);
        assert.equal(await page.locator(".fates [aria-pressed=true]").textContent().then((t) => t.slice(0, 4)), "told");
        await page.goBack();
        await page.waitForFunction(() => location.hash === "#/live");
        await page.goBack();
        await page.getByRole("heading", { level: 1, name: "Now" }).waitFor();
        await page.goForward();
        await rows(page).first().waitFor();
    });

    for (const width of [1280, 360]) {
        on("#/live", { viewport: { width, height: 740 } }, `Back from an event finds the same rows at the same place (${width} px)`, async ({ page, mock }) => {
            await rows(page).first().waitFor();
            const before = await rows(page).count();
            for (const n of [1, 2, 3]) {
                await page.getByRole("button", { name: "Older", exact: true }).click();
                await page.waitForFunction((count) => document.querySelectorAll("ol.events > li").length === count, before + 50 * n);
            }
            const row = page.locator("li[data-id='4900.0']");
            await row.scrollIntoViewIfNeeded();
            await (await row.elementHandle()).waitForElementState("stable");
            const { y } = await row.boundingBox();
            await row.locator("a").click();
            await page.getByRole("heading", { level: 1, name: /·/ }).waitFor();
            mock.world.fates = { "4899.0": "pending" };
            await page.goBack();
            await rows(page).first().waitFor();
            assert.equal(await rows(page).count(), before + 150);
            await (await row.elementHandle()).waitForElementState("stable");
            assert.ok(Math.abs((await row.boundingBox()).y - y) < 4, `${(await row.boundingBox()).y}, was ${y}`);
            assert.ok(await row.locator("a").evaluate((link) => link === document.activeElement));
            await page.locator("li[data-id='4899.0'] .fate.pending").waitFor();
            await page.getByRole("button", { name: "Older", exact: true }).click();
            await page.waitForFunction((count) => document.querySelectorAll("ol.events > li").length === count, before + 200);
            // What came meanwhile is there for who asks for the newest.
            mock.world.next = 5_003;
            await page.getByRole("button", { name: /show the newest/ }).click();
            await page.locator("ol.events > li:first-child[data-id='5003.0']").waitFor();
        });
    }

    on("#/live", { server: { rate: 1_000 } }, "1,000 events a second do not freeze it; they are sampled and counted", async ({ page, mock }) => {
        await page.locator(".rate.sampled").waitFor();
        const [begun, before, worked] = [Date.now(), mock.world.total, await work(page)];
        await until("3,000 more have come", () => mock.world.total >= before + 3_000);
        const [busy, seconds] = [await worked(), (Date.now() - begun) / 1000];
        assert.ok(busy < 0.5 * seconds, `busy for ${busy} s of ${seconds}`);
        assert.match(await page.locator(".rate").textContent(), /^shown \d+ of 1,000 a second; counted in full$/);
        assert.ok((await ids(page)).length <= 300);
        const nodes = await page.evaluate(() => document.getElementsByTagName("*").length);
        assert.ok(nodes < 8_000, `${nodes} elements`);
        await page.getByRole("button", { name: "Pause" }).click();
        await page.getByText(/new events while paused/).waitFor();
        await shot(page, "burst");
    });

    on("#/live", {}, "nothing stored says what to do", async ({ page, mock }) => {
        mock.world.empty = true;
        await page.getByLabel("Search", { exact: true }).fill("zzz");
        await page.getByText("Nothing stored fits this.").waitFor();
    });

    on("#/live", {}, "goes on looking where the server has not looked at all yet, and says so", async ({ page, mock }) => {
        await rows(page).first().waitFor();
        // Few enough for a busy machine to answer within the six seconds that the page looks by itself.
        mock.world.barren = 5;
        await page.getByLabel("Search", { exact: true }).fill("radar");
        await page.waitForFunction(() => {
            const types = [...document.querySelectorAll("ol.events .type")];
            return types.length > 0 && types.every((t) => t.textContent === "AP_RADAR_DETECTED");
        });
        assert.equal(mock.world.barren, 0);
        mock.world.barren = 1e9;
        await page.getByLabel("Search", { exact: true }).fill("restarted");
        await page.getByText("Still looking, further back").waitFor();
        await page.getByText("Nothing found so far. What is older has not been looked through yet.").waitFor();
        assert.equal(await page.getByText("Nothing stored fits this.").count(), 0);
        mock.world.barren = 3;
        await page.getByRole("button", { name: "Look further back" }).click();
        await page.locator("ol.events .type", { hasText: "AP_RESTARTED" }).first().waitFor();
        await page.getByRole("button", { name: "Older", exact: true }).waitFor();
    });

    on("#/live", {}, "eight windows of one browser share a stream: each is answered, and told what comes", async ({ page, mock }) => {
        await page.locator("#link.open").waitFor();
        const pages = [page];
        for (let n = 0; n < 7; n += 1) {
            const other = await page.context().newPage();
            await other.goto(`${mock.url}/#/live`);
            await rows(other).first().waitFor();
            await other.locator("#link.open").waitFor();
            pages.push(other);
        }
        assert.equal(mock.world.streams.size, 1);
        mock.send("event", event(9_002));
        for (const one of pages) await one.locator("li[data-id='9002.0']").waitFor({ state: "attached" });
        // One that closes leaves it to the others; with the last it ends.
        await page.close();
        await pages[1].close();
        mock.send("event", event(9_003));
        for (const one of pages.slice(2)) await one.locator("li[data-id='9003.0']").waitFor({ state: "attached" });
        await Promise.all(pages.slice(3).map((one) => one.close()));
        await pages[2].goto("about:blank");
        await until("the stream ends", () => mock.world.streams.size === 0);
    });

    on("#/live", { without: "SharedWorker" }, "has a stream of its own where a browser has no shared workers", async ({ page, mock }) => {
        await page.locator("#link.open").waitFor();
        assert.equal(mock.world.streams.size, 1);
        mock.send("event", event(9_002));
        await page.locator("li[data-id='9002.0']").waitFor();
    });

    on("#/live", {}, "goes by keyboard: rows by arrows, in and out of an event", async ({ page }) => {
        await rows(page).first().waitFor();
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
        await rows(page).first().locator("a").focus();
        await page.keyboard.press("ArrowDown");
        await page.keyboard.press("ArrowDown");
        await page.keyboard.press("ArrowUp");
        await page.keyboard.press("Enter");
        await page.getByRole("heading", { level: 1, name: /^AP_RESTARTED/ }).waitFor();
        assert.equal(new URL(page.url()).hash, "#/event/4999.0");
        await page.goBack();
        await rows(page).first().waitFor();
    });

    on("#/live", {}, "a view that could not be loaded says so, and comes when the server is back", async ({ page, mock, wrong }) => {
        await rows(page).first().waitFor();
        mock.world.gone = true;
        for (const stream of mock.world.streams) stream.end();
        await page.getByText("connection lost").waitFor();
        for (const view of ["Rules", "Now"]) {
            await page.getByRole("link", { name: view, exact: true }).click();
            await page.getByRole("heading", { level: 1, name: view }).waitFor();
            await page.getByRole("alert").getByText("could not be loaded").waitFor();
        }
        // As where the server went just then: the browser keeps that what it asked for is not there.
        await page.evaluate(() => import("/page/now.js").catch(() => {}));
        await page.getByRole("button", { name: "Try again" }).click();
        mock.world.gone = false;
        await page.getByText("ap-attic").first().waitFor();
        await page.getByRole("link", { name: "Rules" }).click();
        await page.locator("#rules-text").waitFor();
        wrong.splice(0);
    });

    test("a server that goes away is said, and what came meanwhile is there when it is back", TEST, async () => {
        const { page, mock, close } = await open(browser, "#/live");
        await rows(page).first().waitFor();
        mock.world.next = 5_100;
        for (const stream of mock.world.streams) stream.end();
        await page.getByText("connection lost").waitFor();
        await page.getByText("connected", { exact: true }).waitFor();
        await page.locator("li[data-id='5100.0']").waitFor();
        mock.world.fail.add("events");
        await page.getByLabel("Search", { exact: true }).fill("x");
        await page.getByRole("alert").getByText(/^The store is busy/).waitFor();
        mock.world.fail.clear();
        await page.getByLabel("Search", { exact: true }).fill("ap");
        await page.getByRole("alert").waitFor({ state: "detached" });
        await close();
    });
});

describe("one event", () => {
    on("#/event/4920.0", {}, "says what came, what was decided by which line, and how each delivery went", async ({ page }) => {
        await page.getByRole("heading", { level: 1, name: "AP_DISCONNECTED · ap-kitchen" }).waitFor();
        await page.getByText("the built-in rules, line 12").first().waitFor();
        await page.getByText("rules.yaml, line 40").first().waitFor();
        await page.getByRole("heading", { name: /^It is over/ }).waitFor();
        await page.getByText("notify: first, to slack and netops").waitFor();
        const tries = page.getByRole("table", { name: "Deliveries" }).first();
        assert.deepEqual(await tries.locator("tbody tr").first().locator("td").allTextContents().then((t) => [t[0], ...t.slice(2)]), ["delivered", "failed, tried again", "503", "busy"]);
        await tries.getByText("not tried yet").waitFor();
        assert.match(await page.locator(".json").textContent(), /"device_name": "ap-kitchen"/);
        await page.locator(".json summary", { hasText: "ports" }).click();
        await page.locator(".json").getByText("eth1").waitFor();
    });

    on("#/event/4920.0", {}, "shows what Slack and Teams are posted as they would show it", async ({ page }) => {
        const slack = page.locator(".preview.slack").first();
        const teams = page.locator(".preview.teams").first();
        await slack.waitFor();
        assert.deepEqual(await slack.locator(".headline").textContent(), "🔴 AP kitchen is offline | Home");
        assert.deepEqual((await slack.locator("p strong").allTextContents()).slice(0, 2), ["AP kitchen is offline", "AP kitchen"]);
        assert.equal(await slack.locator(".fields-2 code").first().textContent(), "5c:5b:35:00:00:01");
        assert.equal(await slack.locator(".bar").evaluate((node) => getComputedStyle(node).borderLeftColor), "rgb(215, 38, 49)");
        assert.match(await slack.locator("time").first().getAttribute("datetime"), /^2026-09-2\dT/);
        assert.match(await teams.textContent(), /critical · Home · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/);
        const link = slack.getByRole("link", { name: "Open in Mist" });
        assert.match(await link.getAttribute("href"), /^https:\/\/manage\.mist\.com\//);
        assert.match(await link.getAttribute("rel"), /noopener/);
        assert.equal(await page.locator(".preview.teams").nth(2).locator(".buttons a").count(), 4);
        assert.match(await page.locator(".preview.slack").nth(1).textContent(), /🟢.*Stateresolved/);
        assert.equal(await page.locator(".preview .strange").count(), 0, "the page knows every element our encoders use");
    });

    on("#/event/4920.0", { server: { canAct: true }, clock: true }, "sends a message again on the second press, but not where it is queued", async ({ page, mock, wrong }) => {
        const article = page.locator("article.message").first();
        const again = article.getByRole("button", { name: "Send again to slack" });
        await standing(page, async () => {
            await again.click();
            assert.deepEqual(mock.world.acts, []);
            await article.getByRole("button", { name: "Really send it again? Send again to slack" }).click();
        });
        await page.waitForFunction(() => document.getElementById("said").textContent === "Queued: 1 delivery");
        assert.deepEqual(mock.world.acts, ["messages k3f9x2 again slack"]);
        assert.ok(await article.getByRole("button", { name: "Send again to netops" }).isDisabled());
        assert.ok(await article.getByRole("button", { name: "Send again to all" }).isDisabled());
        mock.world.refuse = true;
        await sure(again);
        await article.getByText("it is queued already").waitFor();
        wrong.splice(0, wrong.length, ...wrong.filter((text) => !text.includes("status of 409")));
    });

    on("#/event/4920.0", {}, "who may only look sends nothing", async ({ page }) => {
        assert.ok(await page.getByRole("button", { name: "Send again to slack" }).first().isDisabled());
    });

    on("#/event/4920.0", {}, "says so when its fate changes", async ({ page, mock }) => {
        await page.locator(".sum .fate.told").waitFor();
        mock.send("fate", { id: "4919.0", fate: "pending", why: null });
        mock.send("fate", { id: "4920.0", fate: "suppressed", why: "silenced" });
        await page.locator(".sum .fate.suppressed").getByText("silenced").waitFor();
    });

    on("#/event/4920.0", {}, "makes a rule and a test to copy", async ({ page, mock }) => {
        await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: mock.url });
        const yaml = page.getByRole("region", { name: "Rule and test, as YAML" });
        await yaml.waitFor();
        assert.match(await yaml.textContent(), /match:\n {6}condition: ap_offline\n {4}for: 3m\n/);
        await page.getByLabel(/device ap-kitchen/).check();
        await page.getByRole("button", { name: "Copy YAML" }).click();
        await page.getByRole("button", { name: "Copied" }).waitFor();
        const copied = await page.evaluate(() => navigator.clipboard.readText());
        assert.match(copied, /device: ap-kitchen\n/);
        // The rule there is speaks as well, as its message shows later than the new one would.
        assert.match(copied, /- \{at: 3m10s, rule: AP offline on ap-kitchen, reason: first\}\n {6}- \{rule: AP unreachable, reason: first\}\n$/);
        await page.getByText("Told of by AP unreachable already").waitFor();
    });

    on("#/event/4920.0", { server: { slow: true } }, "is there before its decisions are, and without them where they take too long", async ({ page }) => {
        await page.locator(".preview.slack").first().waitFor();
        await page.getByText("Finding out takes too long for a page.").waitFor();
    });

    on("#/event/4920.0", { timezoneId: "Asia/Kolkata" }, "says whose times they are where they differ", async ({ page }) => {
        await page.getByText("In sentences times are UTC; the clocks beside them are Asia/Calcutta (UTC+5:30).").or(page.getByText("In sentences times are UTC; the clocks beside them are Asia/Kolkata (UTC+5:30).")).waitFor();
        assert.match(await page.getByRole("contentinfo").textContent(), /^Times are of this browser: Asia\/(Kolkata|Calcutta) \(UTC\+5:30\)$/);
        await page.locator("nav").getByRole("link", { name: "Now" }).click();
        await page.getByText("Make a silence").click();
        assert.match(await page.getByLabel("How long").textContent(), /until morning \(8:00 where Foghorn runs\)/);
    });

    on("#/event/4920.0", { timezoneId: "UTC" }, "says nothing of zones where they are the same", async ({ page }) => {
        await page.getByText("pending until 26 Nov 14:03:10").waitFor();
        assert.equal(await page.getByText("In sentences times are UTC").count(), 0);
        assert.equal(await page.getByRole("contentinfo").textContent(), "Times are of this browser: UTC");
    });

    on("#/event/4920.0", {}, "leads on to what is like it", async ({ page }) => {
        await page.getByRole("link", { name: "Harbour Office" }).click();
        await rows(page).first().waitFor();
        assert.equal(new URL(page.url()).hash, "#/live?site=Harbour+Office");
    });

    on("#/live", {}, "folds the many tries of one delivery, and shows them when asked", async ({ page, mock }) => {
        mock.world.retries = 26;
        await rows(page).first().waitFor();
        await page.evaluate(() => (location.hash = "#/event/4920.0"));
        const tries = page.getByRole("table", { name: "Deliveries" });
        await tries.getByText("busy 26").waitFor();
        assert.equal(await tries.locator("tbody tr").count(), 5);
        await tries.getByText("busy 1", { exact: true }).waitFor();
        await tries.getByRole("button", { name: "Show 22 more tries" }).press("Enter");
        await tries.getByText("busy 13").waitFor();
        assert.equal(await tries.locator("tbody tr").count(), 26);
    });

    on("#/live", {}, "calls what is no MAC an id", async ({ page, mock }) => {
        mock.world.odd = { device_mac: "00000000-0000-0000-1000-5c5b35000001" };
        await rows(page).first().waitFor();
        await page.evaluate(() => (location.hash = "#/event/4920.0"));
        await page.locator(".facts dt", { hasText: "Device id" }).waitFor();
        assert.equal(await page.locator(".facts dt", { hasText: "MAC" }).count(), 0);
    });

    on("#/live", {}, "what is no id of an event is asked of nobody", async ({ page, mock }) => {
        await page.evaluate(() => (location.hash = `#/event/${encodeURIComponent("<script>")}`));
        await page.getByRole("heading", { name: "No such event" }).waitFor();
        assert.ok(!(await page.locator("main").textContent()).includes("%3C"));
        assert.ok(!mock.world.asked.some((path) => path.includes("script%3E")));
    });

    test("one that is not stored says so", TEST, async () => {
        const { page, close } = await open(browser, "#/event/999999.0");
        await page.getByRole("heading", { name: "No such event" }).waitFor();
        await close();
    });
});

describe("now", () => {
    on("#/now", { server: { canAct: true } }, "shows incidents, destinations and the feed; durations go on", async ({ page, mock }) => {
        const card = page.locator(".incidents .card").first();
        await card.getByText("ap-roof").waitFor();
        // Each device once, however often it went; what waits for the same is one card.
        await card.getByText("3 devices, 2 still").waitFor();
        assert.equal(await card.locator(".subjects li").count(), 3);
        await card.getByText("2 times").waitFor();
        assert.equal(await page.locator(".incidents .card").count(), 4);
        await page.locator(".incidents .card").last().getByText("8 devices").waitFor();
        await page.locator(".incidents .card").nth(1).getByText("27 devices").waitFor();
        const lasts = card.locator("[data-from]");
        const first = await lasts.textContent();
        assert.match(first, /^4\d min/);
        await page.waitForFunction((was) => document.querySelector(".incidents .card [data-from]").textContent !== was, first);
        await page.getByRole("button", { name: "Show 9 more" }).click();
        await page.getByText("ap-floor-14").waitFor();
        await page.getByText("the server answered 429: too many requests").waitFor();
        await page.getByText("not delivered within 72 h").first().waitFor();
        await page.getByRole("region", { name: "Sources" }).getByText("38.5").waitFor();
        mock.world.empty = true;
        await page.locator("h1").click();
        await page.evaluate(() => document.activeElement.blur());
        mock.send("state", {});
        await page.getByText("Nothing is open.").waitFor();
    });

    on("#/now", { server: { canAct: true }, clock: true }, "makes a silence from an incident, and ends one", async ({ page, mock }) => {
        // Too many to name: what is wrong at their site, never the site alone.
        await page.getByRole("button", { name: "Silence Switch unreachable" }).click();
        assert.deepEqual(await page.locator(".silences form input").evaluateAll((all) => all.slice(0, 4).map((input) => input.value)), ["Harbour Office", "", "switch_offline", ""]);
        await page.getByRole("button", { name: "Silence DHCP fails" }).click();
        await page.getByText("As it stands this silences everything at this site").waitFor();
        await page.getByLabel("Condition").fill("dhcp_failure");
        await page.getByText("As it stands").waitFor({ state: "hidden" });
        await page.getByRole("button", { name: "Silence AP unreachable" }).first().click();
        assert.ok(await page.getByText("As it stands this silences").isHidden());
        assert.equal(await page.getByLabel("Site").inputValue(), "Home");
        assert.equal(await page.getByLabel("Device").inputValue(), "ap-kitchen, ap-roof");
        assert.equal(await page.getByLabel("Condition").inputValue(), "ap_offline");
        await page.getByLabel("How long").selectOption("resolved");
        await page.getByLabel("Who are you?").fill("anna");
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("It is in force.").waitFor();
        const macs = incidents().incidents[0].subjects.map((s) => s.device_mac);
        assert.deepEqual(mock.world.posted, { match: { site: "Home", device: macs.slice(0, 2), condition: "ap_offline" }, until: "resolved", author: "anna", comment: "AP unreachable: ap-kitchen, ap-roof" });
        const end = page.getByRole("button", { name: "End silence k3f9x2ab" });
        await standing(page, async () => {
            await end.click();
            assert.ok(mock.world.silences.some((s) => s.id === "k3f9x2ab"), "one press alone ends nothing");
            await end.click();
        });
        await end.waitFor({ state: "detached" });
        assert.ok(!mock.world.silences.some((s) => s.id === "k3f9x2ab"));
    });

    const strange = (site, device, mac = null) => [{ id: "x1", rule: "Odd", severity: "warning", site, started: new Date().toISOString(), duration_ms: 1, told: [], state: "pending", why: null, condition: "ap_offline", type: "AP_DISCONNECTED", devices: 1,
        subjects: [{ device, device_mac: mac, part: null, site, starts_at: new Date().toISOString(), ends_at: null }] }];
    const odd = {
        "a star": ["*", "*", { site: "/^\\*$/", device: "/^\\*$/" }],
        "an expression": ["/x/", "/.*/", { site: "/^/x/$/", device: "/^/\\.\\*/$/" }],
        "a list": ["A, B", "Smith, Bob", { site: "A, B", device: "Smith, Bob" }],
    };
    for (const [name, [site, device, match]] of Object.entries(odd)) {
        on("#/live", { server: { canAct: true } }, `a silence of what is called like ${name} is of that alone`, async ({ page, mock }) => {
            mock.world.incidents = strange(site, device);
            await page.locator("nav").getByRole("link", { name: "Now" }).click();
            await page.getByRole("button", { name: "Silence Odd" }).click();
            await page.getByRole("button", { name: "Silence", exact: true }).click();
            await page.getByText("It is in force.").waitFor();
            assert.deepEqual(mock.world.posted.match, { ...match, condition: "ap_offline" });
        });
    }

    on("#/live", { server: { canAct: true } }, "a silence of everywhere says so; what is written there is a pattern", async ({ page, mock }) => {
        mock.world.incidents = strange(null, null);
        await page.locator("nav").getByRole("link", { name: "Now" }).click();
        await page.getByRole("button", { name: "Silence Odd" }).click();
        await page.getByText("As it stands this silences this everywhere, at every site.").waitFor();
        await page.getByLabel("Site", { exact: true }).fill("Home*");
        await page.getByText("As it stands").waitFor({ state: "hidden" });
        await page.getByLabel("Site", { exact: true }).fill("*");
        await page.getByText("As it stands this silences this everywhere").waitFor();
        await page.getByLabel("Condition").fill("");
        await page.getByText("As it stands this silences everything there is.").waitFor();
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("It is in force.").waitFor();
        assert.deepEqual(mock.world.posted.match, { site: "*" });
    });

    on("#/live", {}, "what concerns a site leads to that site", async ({ page, mock }) => {
        mock.world.incidents = strange("Lab", null);
        await page.locator("nav").getByRole("link", { name: "Now" }).click();
        await page.getByRole("link", { name: "its site" }).click();
        await rows(page).first().waitFor();
        assert.equal(new URL(page.url()).hash, "#/live?site=Lab");
    });

    on("#/now", { server: { canAct: true } }, "an empty silence is not made by accident", async ({ page, mock }) => {
        await page.getByText("Make a silence").click();
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("Say what to silence").waitFor();
        assert.equal(mock.world.posted, undefined);
        await page.getByLabel("Everything, whatever it is").check();
        await page.getByLabel("How long").selectOption("own");
        for (const [time, wrong] of [["2020-01-05T12:00", "That time is past"], ["2099-01-05T12:00", "at most a year"]]) {
            await page.getByLabel("Until", { exact: true }).fill(time);
            await page.getByRole("button", { name: "Silence", exact: true }).click();
            await page.getByText(wrong).waitFor();
        }
        const soon = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 10);
        await page.getByLabel("Until", { exact: true }).fill(`${soon}T12:00`);
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("It is in force.").waitFor();
        assert.equal(mock.world.posted.all, true);
        assert.ok(mock.world.posted.until.startsWith(soon));
        assert.equal(mock.world.posted.author, "someone on the page");
    });

    on("#/now", { server: { canAct: true } }, "sends dead letters again or discards them, one or all, on the second press", async ({ page, mock }) => {
        const table = page.getByRole("table", { name: "Dead letters" });
        const press = (name) => sure(page.getByRole("button", { name, exact: true }));
        await page.getByRole("button", { name: "Send again: ap-lobby-2 is offline, to netops" }).click();
        assert.deepEqual(mock.world.acts, [], "one press alone does nothing");
        assert.ok(await page.getByRole("button", { name: "Send again: ap-roof is offline, to old" }).isDisabled(), "nobody sends there");
        await press("Discard: ap-roof is offline, to old");
        await page.waitForFunction(() => document.querySelectorAll("table[aria-label='Dead letters'] tbody tr").length === 2);
        await press("Send all again to netops");
        await table.waitFor({ state: "detached" });
        await page.getByText("Every message was delivered, or still may be.").waitFor();
        assert.deepEqual(mock.world.acts, ["dead-letters 12 discard ", "dead-letters all resend netops"]);
    });

    on("#/live", { clock: true }, "says of what is over and was never told that it was over before, and of a pause that ends that it ends now", async ({ page, mock }) => {
        const [found] = strange("Lab", "ap-1", "5c5b35000001");
        mock.world.incidents = [{ ...found, state: "told", subjects: [{ ...found.subjects[0], ends_at: new Date().toISOString() }] }];
        Object.assign(mock.world.destinations.destinations[1], { paused_until: new Date(Date.now() + 3_600_000).toISOString() });
        await page.locator("nav").getByRole("link", { name: "Now" }).click();
        await page.getByText("nobody: it was over before").waitFor();
        await page.getByText("tries again in").first().waitFor();
        await page.clock.fastForward("01:00:00");
        await page.getByText("tries again now").waitFor();
    });

    on("#/now", { viewport: { width: 360, height: 740 } }, "on a phone links to devices are high enough for a finger, and acts stand below their name", async ({ page }) => {
        const link = page.locator(".subjects a").first();
        await link.waitFor();
        assert.ok((await link.boundingBox()).height >= 24);
        const boxes = await Promise.all(["Send all again to netops", "Discard all to netops"].map((name) => page.getByRole("button", { name }).boundingBox()));
        assert.ok(Math.abs(boxes[0].y - boxes[1].y) < 3 || Math.abs(boxes[0].x - boxes[1].x) < 3, JSON.stringify(boxes));
    });

    on("#/now", {}, "who may only look is told why, and what to do", async ({ page }) => {
        await page.getByText("Make a silence").click();
        await page.getByText("This page may only look.").waitFor();
        assert.ok(await page.getByRole("button", { name: "Silence", exact: true }).isDisabled());
        assert.ok(await page.getByRole("button", { name: /^End silence/ }).first().isDisabled());
        assert.ok(await page.getByRole("button", { name: "Silence AP unreachable" }).first().isDisabled());
    });
});

describe("noise", () => {
    on("#/noise", {}, "plots what was told and kept quiet, with the numbers beside it", async ({ page }) => {
        await page.locator("svg.chart").nth(1).waitFor();
        assert.match(await page.locator("svg.chart").first().getAttribute("aria-label"), /^Told over time: \d+ in all/);
        assert.equal(await page.locator("svg.chart").first().locator("g.bar").count(), 168);
        await page.getByText("The same as a table").click();
        assert.equal(await page.getByRole("table", { name: "Told and kept quiet over time" }).locator("tbody tr").count(), 168);
        assert.equal(await page.getByRole("table", { name: "By rule" }).locator("tbody tr").first().locator("th").textContent(), "AP unreachable");
        await page.getByText("The first 20 of 26.").waitFor();
        await page.getByRole("link", { name: "30 days" }).click();
        await page.waitForFunction(() => document.querySelectorAll("svg.chart g.bar").length === 240);
        await page.getByRole("link", { name: "ap-kitchen" }).click();
        await page.getByLabel("Device").waitFor();
        assert.equal(new URL(page.url()).hash, "#/live?device=ap-kitchen");
    });
});

describe("noise of a fresh one", () => {
    on("#/noise", {}, "begins where something came at first", async ({ page, mock }) => {
        mock.world.fresh = true;
        await page.getByRole("link", { name: "1 day" }).click();
        await page.getByText(/^Counted in events.* Nothing came before /).waitFor();
        await page.waitForFunction(() => document.querySelector("svg.chart")?.querySelectorAll("g.bar").length === 24);
    });
});

describe("what would help", () => {
    on("#/noise", { server: { canAct: true } }, "is looked for when asked, and comes with a patch to copy", async ({ page, mock }) => {
        await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: mock.url });
        assert.ok(!mock.world.asked.some((path) => path.includes("/v1/tune")), "looking is work: not by itself");
        await page.getByRole("button", { name: "Look for changes that help" }).click();
        await page.getByText("12 s so far.").waitFor();
        await page.getByText("152 of the 160 it told of were over within 3 min").waitFor();
        await page.getByText("1 would be missed that may matter").waitFor();
        await page.getByText("rules.yaml, by hand").waitFor();
        await page.getByText("All of it as a patch").click();
        await page.getByRole("button", { name: "Copy the patch" }).click();
        await page.getByRole("button", { name: "Copied" }).waitFor();
        assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^--- rules\.yaml\n[^]*\+    for: 5m\n/);
        await page.getByRole("button", { name: "Find it anew" }).click();
        await page.getByText("12 s so far.").waitFor();
        assert.ok(mock.world.asked.includes("POST /api/v1/tune?since=7d"));
    });
});

describe("what means harm", () => {
    const unhurt = async (page) => {
        assert.equal(await page.evaluate(() => window.hurt), undefined);
        assert.equal(await page.locator("main script, main img, main i, main b b").count(), 0, "text became markup");
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `the page is ${wide} px too wide`);
    };

    for (const width of [1280, 360]) {
        const viewport = { width, height: 800 };
        on("#/live", { server: { evil: true }, viewport }, `is text in the list (${width} px)`, async ({ page, mock }) => {
            await page.locator("li[data-id='666.0']").waitFor();
            await page.locator("ol.events").getByText(SCRIPT.slice(0, 20)).first().waitFor();
            assert.deepEqual(await page.locator("li[data-id='666.0'] .type .unseen").allTextContents(), ["U+202E", "U+200B"]);
            mock.send("event", { ...EVIL, id: "6666.0", text: "y".repeat(1024 * 1024), site: SCRIPT.repeat(100) });
            await page.locator("li[data-id='6666.0']").waitFor();
            const height = await page.locator("li[data-id='6666.0']").evaluate((li) => li.getBoundingClientRect().height);
            assert.ok(height < 260, `${height} px high`);
            await unhurt(page);
        });

        on("#/event/666.0", { viewport }, `is text in an event, whole and in bounds (${width} px)`, async ({ page }) => {
            await page.locator(".json").waitFor();
            await unhurt(page);
            const links = await page.locator(".preview a").evaluateAll((all) => all.map((a) => a.href).filter((href) => !href.startsWith("https://manage.mist.com/")));
            assert.deepEqual(links, [], "a javascript: link is no link");
            for (const chat of ["slack", "teams"]) {
                const shown = await page.locator(`.preview.${chat}`).nth(1).textContent();
                assert.ok(shown.includes(SCRIPT) && shown.includes("click"), shown);
                const strange = await page.locator(`.preview.${chat}`).nth(1).locator(".strange").count();
                assert.equal(strange, { slack: 3, teams: 4 }[chat], "what it does not know is named");
            }
            const worked = await work(page);
            await page.getByRole("button", { name: "Show all 1,048,576 characters" }).click();
            await page.waitForFunction(() => document.querySelector(".json .long")?.textContent.length === 1024 * 1024);
            await page.getByRole("button", { name: "Show all 400,000 characters" }).click();
            await page.waitForFunction(() => document.querySelectorAll(".json .long").length === 2);
            await page.locator(".json summary", { hasText: "wide" }).click();
            await page.getByRole("button", { name: "Show 200 more of 19,800" }).click();
            const busy = await worked();
            assert.ok(busy < 5, `it froze for ${busy} s`);
            const json = await page.locator(".json").textContent();
            assert.ok(json.includes("aU+200Bb\\u0000c\\ud800") && json.includes("U+202Eabc"), json.slice(0, 3_000));
            const yaml = await page.getByRole("region", { name: "Rule and test, as YAML" }).textContent();
            assert.doesNotMatch(yaml, /[\u202e\u200b]/);
            await unhurt(page);
        });
    }

    for (const width of [1280, 375]) {
        on("#/live", { viewport: { width, height: 800 }, server: { canAct: true } }, `letters under piles of marks keep to their line (${width} px)`, async ({ page, mock }) => {
            const piled = `Z${"\u0336\u0327\u0489".repeat(300)}`;
            await rows(page).first().waitFor();
            mock.send("event", { ...event(9_001), site: piled, device: piled, text: piled, type: piled, rules: [piled] });
            mock.send("event", { ...event(9_002), site: piled, device: null, device_mac: null, text: "กี่ số ḗ נִקּוּד", rules: [] });
            const row = page.locator("li[data-id='9001.0']");
            await row.waitFor();
            assert.match(await row.locator(".type").textContent(), /^Z[\u0336\u0327\u0489]{4}\d+ marks…$/);
            assert.equal(await page.locator("li[data-id='9002.0'] .says .unseen").count(), 0, "letters of people's languages stay as they are");
            const long = (li) => li.evaluate((node) => [...node.querySelectorAll("*")].some((part) => part.scrollHeight > 300));
            assert.ok(!(await long(row)));
            await unhurt(page);
            mock.world.incidents = [{ id: "x", rule: piled, severity: "warning", site: piled, started: new Date().toISOString(), duration_ms: 1, told: [], state: "pending", why: piled, condition: piled, devices: 1, subjects: [{ device: piled, device_mac: null, site: piled }] }];
            await page.locator("nav").getByRole("link", { name: "Now" }).click();
            await page.locator(".incidents .card .unseen").first().waitFor();
            await unhurt(page);
        });
    }

    on("#/now", { viewport: { width: 360, height: 740 } }, "on a phone what a destination does is not cut off", async ({ page, mock }) => {
        Object.assign(mock.world.destinations.destinations[2], { paused_until: new Date(Date.now() + 3_573_000).toISOString() });
        const state = page.locator(".destinations .state", { hasText: "tries again" }).last();
        await state.waitFor();
        const [inside, box] = await state.evaluate((node) => [node.getBoundingClientRect().right, node.closest(".scroll").getBoundingClientRect().right]);
        assert.ok(inside <= box, `${inside} > ${box}`);
    });

    on("#/live", {}, "in the address is nothing either", async ({ page, mock, wrong }) => {
        for (const hash of [`#/event/${encodeURIComponent("../../silences")}`, "#/event/%E0%A4%A", `#/live?q=${encodeURIComponent(SCRIPT)}`, "#/__proto__", "#/constructor/x"]) {
            await page.evaluate((to) => {
                document.querySelector("main .view").dataset.before = "";
                location.hash = to;
            }, hash);
            await page.locator("main .view:not([data-before])").waitFor({ state: "attached" });
            await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
            await unhurt(page);
        }
        assert.ok(!mock.world.asked.includes("GET /api/v1/silences"));
        // The browser itself says so of an event that is not there.
        wrong.splice(0, wrong.length, ...wrong.filter((text) => !text.includes("status of 404")));
    });
});

describe("who may see it", () => {
    const SECRET = "correct horse";
    const field = (page) => page.getByLabel("Password");
    /** What a browser says of a refusal that is meant. */
    const meant = (wrong) => wrong.splice(0, wrong.length, ...wrong.filter((text) => !/status of (401|403|429)/.test(text)));

    on("#/live?site=Home", { server: { password: SECRET } }, "logs in, goes on where one was when the session ends, and logs out", async ({ page, mock, wrong }) => {
        await field(page).waitFor();
        assert.equal(await page.evaluate(() => document.activeElement.autocomplete), "current-password");
        assert.equal(await page.locator("input[autocomplete=username]").inputValue(), "foghorn");
        assert.ok(!mock.world.asked.some((asked) => asked.includes("events") || asked.includes("v1/live")), "nothing is asked for before");
        assert.deepEqual(await faults(page), []);
        await shot(page, "login");
        await page.keyboard.press("Escape");
        assert.ok(await field(page).isVisible());

        await field(page).fill("wrong one");
        await page.keyboard.press("Enter");
        await page.getByText("That is not the password.").waitFor();
        mock.world.limited = true;
        await field(page).fill("wrong one");
        await page.keyboard.press("Enter");
        await page.getByText("try again in 42 s").waitFor();
        mock.world.limited = false;
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await rows(page).first().waitFor();
        await page.locator("#link.open").waitFor();
        assert.ok(page.url().endsWith("#/live?site=Home"));
        assert.ok(!page.url().includes("password") && !mock.world.asked.some((asked) => asked.includes("correct")));

        // The session ends while a silence is being written: what was typed is still there, and is sent.
        await page.goto(`${mock.url}/#/now`);
        await page.getByText("Make a silence").click();
        await page.getByLabel("Site", { exact: true }).fill("Home");
        mock.world.sessions.clear();
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await page.getByText("It is in force.").waitFor();
        assert.deepEqual(mock.world.posted.match, { site: "Home" });

        await page.getByRole("button", { name: "Log out" }).click();
        await field(page).waitFor();
        assert.equal(mock.world.sessions.size, 0);
        assert.equal(await page.locator("main .view").count(), 0, "nothing is left to see");
        meant(wrong);
    });

    on("#/live", { server: { password: SECRET } }, "who logs out in one window is out in the others, and in again with one", async ({ page, mock, wrong }) => {
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await page.locator("#link.open").waitFor();
        const other = await page.context().newPage();
        await other.goto(`${mock.url}/#/now`);
        await other.locator("#link.open").waitFor();
        await page.getByRole("button", { name: "Log out" }).click();
        await field(page).waitFor();
        for (const stream of mock.world.streams) stream.end();
        await field(other).waitFor();
        assert.equal(await other.getByRole("button", { name: "Log out" }).count(), 0);
        await other.waitForFunction(() => document.querySelector("#link").textContent === "");
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await page.locator("#link.open").waitFor();
        await field(other).waitFor({ state: "detached" });
        await other.getByRole("button", { name: "Log out" }).waitFor();
        await other.locator("#link.open").waitFor();
        meant(wrong);
    });

    on("#/live", { server: { password: SECRET } }, "a stream that is cut because the session ended brings the form", async ({ page, mock, wrong }) => {
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await page.locator("#link.open").waitFor();
        mock.world.sessions.clear();
        for (const stream of mock.world.streams) stream.end();
        await field(page).waitFor();
        await field(page).fill(SECRET);
        await page.keyboard.press("Enter");
        await page.locator("#link.open").waitFor();
        meant(wrong);
    });

    on("#/now", { server: { canAct: true } }, "a server that began anew is introduced to, and what one does there is done", async ({ page, mock, wrong }) => {
        await page.getByText("Make a silence").click();
        mock.world.proof = "another";
        await page.getByLabel("Site", { exact: true }).fill("Home");
        await page.getByRole("button", { name: "Silence", exact: true }).click();
        await page.getByText("It is in force.").waitFor();
        // Once more and no further: what is not allowed stays so.
        await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
        const asked = () => mock.world.asked.filter((path) => path === "GET /api/v1/me").length;
        const before = asked();
        for (const stream of mock.world.streams) stream.end();
        await page.getByText("connection lost").waitFor();
        await page.getByText("connected", { exact: true }).waitFor();
        await until("who looks is asked anew with a new stream", () => asked() > before);
        meant(wrong);
    });

    for (const password of [null, SECRET]) {
        on("#/live", { server: { password, canAct: true, edit: true } }, `nothing is too wide on a phone, ${password ? "logged in" : "without a password"}`, async ({ page }) => {
            if (password) {
                await field(page).fill(password);
                await page.keyboard.press("Enter");
            }
            await rows(page).first().waitFor();
            await page.locator("#link.open").waitFor();
            for (const view of ["Live", "Now", "Noise", "Rules"]) {
                await page.locator("nav").getByRole("link", { name: view, exact: true }).click();
                await page.waitForFunction((name) => document.title.startsWith(name) && !document.querySelector("[aria-busy=true]"), view);
                for (const width of [320, 360, 375, 390, 412, 700]) {
                    await page.setViewportSize({ width, height: 800 });
                    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
                    assert.ok((await wide()) <= 0, `${view} at ${width}: ${await wide()} px too wide`);
                    if (password) assert.ok((await page.getByRole("button", { name: "Log out" }).boundingBox()).x + 40 < width);
                }
            }
        });
    }

    on("#/live", { server: { closed: true }, viewport: { width: 360, height: 740 } }, "says what to do where no password would help", async ({ page, mock, wrong }) => {
        await page.getByRole("heading", { name: "You may not see this page" }).waitFor();
        await page.getByText("server.password").waitFor();
        assert.equal(await field(page).count(), 0);
        assert.deepEqual(await faults(page), []);
        mock.world.closed = false;
        await page.getByRole("button", { name: "Try again" }).click();
        await rows(page).first().waitFor();
        meant(wrong);
    });
});

describe("the parts", () => {
    const inside = (page, module, body, argument) =>
        page.evaluate(`import("/page/${module}").then((m) => (${body})(m, ${JSON.stringify(argument ?? null)}))`);

    on("#/now", { timezoneId: "UTC", locale: "en-US" }, "dates in a preview are of the reader's zone", async ({ page }) => {
        const drawn = (kind, text) => inside(page, "chat.js", `(m, [kind, text]) => { const box = document.createElement("div"); box.append(...m[kind](text)); return box.innerHTML; }`, [kind, text]);
        assert.match(await drawn("markdown", "{{DATE(2026-01-05T12:00:00Z, SHORT)}}"), /^<p><time datetime="2026-01-05T12:00:00.000Z" title="[^"]+">[^<]*2026<\/time><\/p>$/);
        assert.match(await drawn("mrkdwn", "<!date^0^{date_num} {time_secs}|x>"), /^<time datetime="1970-01-01T00:00:00.000Z"[^>]*>1\/1\/70 12:00:00 AM/);
    });

    on("#/now", { timezoneId: "Europe/Berlin", locale: "en-GB" }, "an axis names each day once, where it begins, and hours where they do", async ({ page }) => {
        const marks = (from, count, step, room) => inside(page, "chart.js",
            `(m, [from, count, step, room]) => m.marks(Array.from({ length: count }, (_, i) => ({ at: new Date(Date.parse(from) + i * step * 60_000).toISOString() })), room)`, [from, count, step, room]);
        // The last Sunday of March has 23 hours there.
        const week = await marks("2026-03-27T05:00:00Z", 168, 60, 8);
        assert.deepEqual(week.map(([, text]) => text), ["27 Mar", "28 Mar", "29 Mar", "30 Mar", "31 Mar", "1 Apr", "2 Apr", "3 Apr"]);
        assert.deepEqual(week.slice(0, 4).map(([i]) => i), [0, 18, 42, 65]);
        const month = await marks("2026-03-01T00:00:00Z", 180, 240, 9);
        assert.ok(month.length <= 9 && new Set(month.map(([, text]) => text)).size === month.length, JSON.stringify(month));
        const hours = await marks("2026-03-27T05:00:00Z", 96, 15, 9);
        assert.deepEqual(hours.map(([, text]) => text), ["06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "28 Mar", "03:00"]);
        assert.deepEqual(await marks("2026-03-27T05:10:00Z", 0, 15, 9), []);
    });
});

describe("every view", () => {
    const views = { live: "#/live?site=Home", event: "#/event/4920.0", now: "#/now", noise: "#/noise", evil: "#/event/666.0" };
    for (const [name, hash] of Object.entries(views)) {
        on(hash, { server: { canAct: true } }, `${name}: axe finds nothing serious, nothing is too wide; light, dark and on a phone`, async ({ page }) => {
            await page.waitForFunction(() => document.querySelector("main .view") && !document.querySelector("[aria-busy=true]"));
            if (name === "now") await page.getByText("Make a silence").click();
            if (name === "noise") {
                await page.getByText("The same as a table").click();
                await page.getByRole("button", { name: "Look for changes that help" }).click();
                await page.getByText("All of it as a patch").click();
                await page.getByText("Who is named most").click();
            }
            await everyLook(page, name, { fullPage: name !== "live" });
        });
    }
});
