// One browser for all tests, and a page that minds its manners: no error in the console, no request to another host.

import { createRequire } from "node:module";
import { existsSync, mkdirSync } from "node:fs";
import { start } from "./mock.mjs";

const require = createRequire(`${process.env.PAGE_MODULES ?? new URL("../../target/page", import.meta.url).pathname}/`);
const { chromium } = require("playwright-core");
export const AXE = require.resolve("axe-core/axe.min.js");
const SHOTS = process.env.PAGE_SHOTS;

const CANDIDATES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch() {
    const executablePath = CANDIDATES.find((path) => path && existsSync(path));
    // The sandbox needs what containers seldom give; the page is our own.
    return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

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

/** Opens the page at `hash` with a server of its own. What went wrong is in `wrong`. */
export async function open(browser, hash, { server = {}, ...options } = {}) {
    const mock = await start(server);
    if (server.evil) mock.world.evil = true;
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const wrong = mind(page, mock.url);
    await page.goto(`${mock.url}/${hash}`);
    const close = async () => {
        await context.close();
        await mock.close();
    };
    return { page, mock, wrong, close };
}

/** What axe calls serious or worse, one a line. */
export async function faults(page) {
    const { readFileSync } = await import("node:fs");
    // Injected as the debugger does it: the page's policy stays as it is.
    await page.evaluate(readFileSync(AXE, "utf8"));
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations
        .filter((v) => ["serious", "critical"].includes(v.impact))
        .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
}

export async function shot(page, name, options = {}) {
    if (!SHOTS) return;
    mkdirSync(SHOTS, { recursive: true });
    await page.screenshot({ path: `${SHOTS}/${name}.png`, ...options });
}
