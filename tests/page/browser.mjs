// One browser for all tests, and a page that minds its manners: no error in the console, no request to another host.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { start } from "./mock.mjs";

const require = createRequire(`${process.env.PAGE_MODULES ?? new URL("../../target/page", import.meta.url).pathname}/`);
const { chromium } = require("playwright-core");
export const AXE = require.resolve("axe-core/axe.min.js");
const SHOTS = process.env.PAGE_SHOTS;

const CANDIDATES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Time after which a wait fails. No test depends on it to pass: it is far more than a loaded machine needs. */
const PATIENCE = 120_000;
/** Time for one whole test, with several waits. */
export const TEST = { timeout: 3 * PATIENCE };

export async function launch() {
    const executablePath = CANDIDATES.find((path) => path && existsSync(path));
    // The sandbox needs what containers seldom give; the page is our own.
    return chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: PATIENCE });
}

/** A window of its own, as patient as the tests. */
export async function context(browser, options) {
    const made = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    made.setDefaultTimeout(PATIENCE);
    return made;
}

/** Polls until it is so. */
export async function until(what, isSo) {
    for (const end = Date.now() + PATIENCE; !(await isSo());) {
        assert.ok(Date.now() < end, `waited in vain: ${what}`);
        await new Promise((done) => setTimeout(done, 20));
    }
}

/** Starts to measure the processor time of the page's main thread, in seconds: no load of the machine changes it. */
export async function work(page) {
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
    const read = async () => (await devtools.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
    const begun = await read();
    return async () => (await read()) - begun;
}

/** Presses a button twice, as who is sure: nothing comes between. */
export const sure = (button) => button.click({ clickCount: 2 });

/** Notes what goes wrong on a page of this server. */
export function mind(page, url) {
    const wrong = [];
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => wrong.push(`threw: ${error.stack}`));
    page.on("request", (request) => {
        const asked = request.url();
        if (!asked.startsWith(`${url}/`) && !asked.startsWith("data:")) wrong.push(`asked elsewhere: ${asked}`);
    });
    return wrong;
}

/**
 * Opens the page at `hash` with a server of its own, and waits for its stream where one may see it: what the server sends from then
 * on arrives. `clock`: its time can be moved on. What went wrong is in `wrong`.
 */
export async function open(browser, hash, { server = {}, without = null, clock = false, ...options } = {}) {
    const mock = await start(server);
    if (server.evil) mock.world.evil = true;
    const own = await context(browser, options);
    const page = await own.newPage();
    if (clock) await page.clock.install();
    const wrong = mind(page, mock.url);
    if (without) await page.addInitScript((name) => delete window[name], without);
    await page.goto(`${mock.url}/${hash}`);
    if (!server.password && !server.closed) {
        await page.locator("#link.open").waitFor();
        await page.locator("main .view").waitFor({ state: "attached" });
    }
    const close = async () => {
        await own.close();
        await mock.close();
    };
    return { page, mock, wrong, close };
}

/** What axe calls serious or worse, one a line. */
export async function faults(page) {
    // Injected as the debugger does it: the page's policy stays as it is.
    if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(readFileSync(AXE, "utf8"));
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations
        .filter((v) => ["serious", "critical"].includes(v.impact) || v.id === "landmark-unique")
        .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
}

/** The same page light, dark and on a phone: axe finds nothing, and nothing is too wide. */
export async function everyLook(page, name, options = {}) {
    const looks = { light: [1280, 900, "light"], dark: [1280, 900, "dark"], phone: [360, 740, "light"] };
    for (const [look, [width, height, colorScheme]] of Object.entries(looks)) {
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme });
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        assert.deepEqual(await faults(page), [], look);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${look}: ${wide} px too wide`);
        await shot(page, `${name}-${look}`, options);
    }
}

export async function shot(page, name, options = {}) {
    if (!SHOTS) return;
    mkdirSync(SHOTS, { recursive: true });
    await page.screenshot({ path: `${SHOTS}/${name}.png`, ...options });
}
