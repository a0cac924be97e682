// The Rules view in a real browser: looked at, edited, checked, applied, refused; by keyboard, on a phone.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { everyLook, launch, open, shot, TEST, until } from "./browser.mjs";
import { TEXT } from "./rulebook.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** `meant`: what the browser may say of refusals. */
function on(options, name, body, meant = null) {
    test(name, TEST, async () => {
        const opened = await open(browser, "#/rules", options);
        try {
            await opened.page.locator("#rules-text").waitFor();
            await body(opened);
            assert.deepEqual(opened.wrong.filter((said) => !meant?.test(said)), []);
        } finally {
            await opened.close();
        }
    });
}

const EDIT = { server: { edit: true, canAct: true } };
const text = (page) => page.getByLabel("The rules, to edit");
const button = (page, name) => page.getByRole("button", { name, exact: true });
const fill = async (page, from, to) => text(page).fill((await text(page).inputValue()).replace(from, to));

describe("looking", () => {
    on({ server: { canAct: true } }, "shows the file, its tests and how to switch editing on", async ({ page }) => {
        assert.equal(await page.getByLabel("The rules", { exact: true }).inputValue(), TEXT);
        assert.ok(await page.locator("#rules-text").evaluate((area) => area.readOnly));
        await page.getByText("set edit_rules: true").waitFor();
        await page.getByText("1 of 1 test passed").waitFor();
        assert.equal(await button(page, "Apply").count(), 0);
        await page.getByText("/etc/foghorn/rules.yaml", { exact: true }).waitFor();
    });

    on({ server: { edit: true } }, "is all one may do who may not act", async ({ page }) => {
        assert.ok(await page.locator("#rules-text").evaluate((area) => area.readOnly));
        await page.getByText("Only to look at: whoever you are").waitFor();
        await page.getByText("Secrets are hidden.", { exact: true }).waitFor();
    });

    on(EDIT, "numbers the lines, and keeps beside them", async ({ page }) => {
        const lines = TEXT.split("\n").length;
        assert.equal((await page.locator(".gutter").textContent()).split("\n").length, lines);
        await text(page).evaluate((area) => (area.scrollTop = 400));
        await page.waitForFunction(() => document.querySelector(".gutter").scrollTop === document.querySelector("#rules-text").scrollTop);
        const heights = await page.evaluate(() => [".gutter", "#rules-text"].map((it) => document.querySelector(it).getBoundingClientRect().height));
        assert.ok(Math.abs(heights[0] - heights[1]) < 3, String(heights));
        await fill(page, "rules:\n", "rules:\n\n\n");
        assert.equal((await page.locator(".gutter").textContent()).split("\n").length, lines + 2);
    });
});

describe("a change", () => {
    on(EDIT, "is checked, compared, shown and applied", async ({ page, mock }) => {
        const { book } = mock.world;
        assert.ok(await button(page, "Apply").isDisabled());
        await fill(page, "for: 3m", "for: 5m");
        await page.getByText("Check it first.").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        await text(page).press("Control+Enter");
        await page.getByText("212 → 41 messages").waitFor();
        const row = page.getByRole("row", { name: /AP unreachable/ });
        assert.match(await row.textContent(), /200.*30/);
        await page.getByText("Would have missed: 1").click();
        await page.getByText("sw-garage", { exact: true }).waitFor();
        const diff = page.getByRole("region", { name: "What changes, line by line" });
        assert.deepEqual((await diff.textContent()).split("\n").slice(0, 9), [
            "@@ line 5, now 5 @@", "  rules:", "    - name: AP unreachable", "      match: {condition: ap_offline}", "-     for: 3m", "+     for: 5m",
            "    - name: Switch unreachable", "      match: {condition: switch_offline}", "  tests:",
        ].map((line) => line));
        await shot(page, "rules-checked", { fullPage: true });
        await button(page, "Apply").click();
        await page.getByText("Applied: the rules are in force.").waitFor();
        assert.match(book.text, /for: 5m/);
        assert.equal(await text(page).inputValue(), book.text);
        assert.deepEqual(book.asked.map(([what]) => what), ["POST rules/check", "POST replay-diff", "PUT rules"]);
        assert.equal(book.asked[2][1].version, "1");
        assert.ok(await button(page, "Apply").isDisabled());
    });

    on(EDIT, "is applied as it was checked and no other", async ({ page }) => {
        await fill(page, "for: 3m", "for: 5m");
        await button(page, "Check").click();
        await page.getByText("212 → 41").waitFor();
        assert.ok(await button(page, "Apply").isEnabled());
        await fill(page, "for: 5m", "for: 6m");
        assert.ok(await button(page, "Apply").isDisabled());
        await page.getByText("Check it first.").waitFor();
    });

    on(EDIT, "is applied once the last 7 days were seen: those of this text, whatever was tried before", async ({ page, mock }) => {
        const { book } = mock.world;
        let release;
        book.held = new Promise((done) => (release = done));
        await fill(page, "for: 3m", "for: 5m");
        await text(page).press("Control+Enter");
        await page.getByText("It is being tried on the last 7 days.").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        await fill(page, "for: 5m", "for: 6m");
        // Another's turn meanwhile: it waits for its own.
        book.busy = true;
        await text(page).press("Control+Enter");
        await page.getByText("Another text is being tried; this one is next").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        await until("nobody waits for the first any more", () => book.stopped === 1);
        book.busy = false;
        release();
        await page.getByText("212 → 77 messages").waitFor();
        assert.equal(await page.getByText("212 → 41").count(), 0);
        assert.ok(await button(page, "Apply").isEnabled());
        // Nor does one come late into the file as it stands.
        book.held = new Promise(() => {});
        await fill(page, "for: 6m", "for: 5m");
        await text(page).press("Control+Enter");
        await page.getByText("It is being tried on the last 7 days.").waitFor();
        page.once("dialog", (dialog) => dialog.accept());
        await button(page, "Undo my changes").click();
        await page.getByText("Nothing is changed.").waitFor();
        await until("nobody waits for it any more", () => book.stopped === 2);
        assert.equal(await page.getByText("212 →").count(), 0);
    }, /status of 503/);

    on(EDIT, "that cannot be tried on the last 7 days is applied only by those who say so", async ({ page, mock }) => {
        const { book } = mock.world;
        book.fails = true;
        await fill(page, "for: 3m", "for: 5m");
        await button(page, "Check").click();
        await page.getByText("It could not be tried on the last 7 days.").waitFor();
        await page.getByRole("alert").getByText("compare a shorter time").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        book.fails = false;
        book.empty = true;
        await button(page, "Try again").click();
        await page.getByText("Nothing came in these days").waitFor();
        assert.ok(await button(page, "Apply").isEnabled());
        book.fails = true;
        await button(page, "Check").click();
        await page.getByLabel("Apply without having seen the last 7 days").check();
        await button(page, "Apply").click();
        await page.getByText("Applied: the rules are in force.").waitFor();
    }, /status of 503/);

    on(EDIT, "with errors is not applied, and a problem leads to its line", async ({ page, mock }) => {
        await fill(page, "    for: 3m", "    oops: 3m # hmm");
        await button(page, "Check").click();
        await page.getByText("It has errors.").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        const problems = page.getByRole("region", { name: "Problems" }).getByRole("listitem");
        assert.match(await problems.first().textContent(), /error.*Line 8.*no key oops.*did you mean/);
        assert.equal(await page.locator("script:not([src])").count(), 0);
        await problems.first().getByRole("button").press("Enter");
        const chosen = await text(page).evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
        assert.equal(chosen, "    oops: 3m # hmm");
        assert.match(await page.locator(".gutter").textContent(), /\n! 8\n/);
        assert.ok(!mock.world.book.asked.some(([what]) => what.includes("replay")));
        await page.getByText("They were not run: there are errors above.").waitFor();
        assert.equal(await page.getByText("There are no tests.").count(), 0);
    });

    on(EDIT, "whose tests fail is applied only by those who say so", async ({ page, mock }) => {
        await fill(page, "# what matters", "# fails");
        await button(page, "Check").click();
        await page.getByRole("region", { name: "Tests" }).getByText("1 of 2 tests passed").waitFor();
        const failing = page.getByRole("region", { name: "Tests" }).getByRole("listitem").first();
        assert.match(await failing.textContent(), /failed.*a switch hides its APs.*<b>Switch<\/b> unreachable/s);
        assert.ok(await button(page, "Apply").isDisabled());
        await page.getByLabel("Apply although tests fail").check();
        await button(page, "Apply").click();
        await page.getByText("Applied: the rules are in force.").waitFor();
        assert.equal(mock.world.book.asked.at(-1)[1].despite_tests, true);
    });

    on(EDIT, "on a file that changed meanwhile is refused, and not lost", async ({ page, mock, wrong }) => {
        await fill(page, "for: 3m", "for: 5m");
        await button(page, "Check").click();
        await page.getByText("212 → 41").waitFor();
        mock.world.book.version = 7;
        mock.world.book.text = `${TEXT}# somebody else\n`;
        await button(page, "Apply").click();
        await page.getByText("The file has changed meanwhile").waitFor();
        assert.match(await text(page).inputValue(), /for: 5m/);
        assert.match(await page.getByRole("region", { name: "What was changed there" }).textContent(), /\+ # somebody else\n/);
        assert.ok(await button(page, "Apply").isDisabled(), "it could only be refused again");
        await page.getByText("The file has changed: take that change in first.").waitFor();
        // Nor by looking elsewhere and coming back: it is still a change to the older file.
        await page.getByRole("link", { name: "Now" }).click();
        await page.getByRole("link", { name: "Rules" }).click();
        await text(page).waitFor();
        await page.getByText("The file has changed meanwhile").waitFor();
        await button(page, "Check").click();
        await page.getByText("212 → 41").waitFor();
        assert.ok(await button(page, "Apply").isDisabled());
        await page.getByRole("link", { name: "Now" }).click();
        await page.getByRole("link", { name: "Rules" }).click();
        await button(page, "Load the file anew, without my changes").click();
        await page.waitForFunction(() => document.querySelector("#rules-text").value.includes("somebody else"));
        assert.equal(await page.getByText("The file has changed meanwhile").count(), 0);
        wrong.splice(0, wrong.length, ...wrong.filter((said) => !said.includes("status of 409")));
    });

    on(EDIT, "is put against the file as somebody else left it, seen what that undoes, and applied", async ({ page, mock, wrong }) => {
        const { book } = mock.world;
        await fill(page, "for: 3m", "for: 5m");
        await button(page, "Check").click();
        await page.getByText("212 → 41").waitFor();
        book.version = 7;
        book.text = `${TEXT}# somebody else\n`;
        await button(page, "Apply").click();
        await button(page, "Go on with my text, against the file as it is").click();
        await page.getByText("Check it first.").waitFor();
        await button(page, "Check").click();
        await page.getByText("212 → 41").waitFor();
        assert.match(await page.getByRole("region", { name: "What changes, line by line" }).textContent(), /- # somebody else\n/);
        await button(page, "Apply").click();
        await page.getByText("Applied: the rules are in force.").waitFor();
        assert.equal(book.asked.at(-1)[1].version, "7");
        assert.match(book.text, /for: 5m/);
        wrong.splice(0, wrong.length, ...wrong.filter((said) => !said.includes("status of 409")));
    });

    on(EDIT, "survives a look elsewhere, and is not left by accident", async ({ page }) => {
        await fill(page, "for: 3m", "for: 9m");
        await page.getByRole("link", { name: "Noise" }).click();
        await page.getByRole("heading", { name: "Noise" }).waitFor();
        await page.getByRole("link", { name: "Rules" }).click();
        await text(page).waitFor();
        assert.match(await text(page).inputValue(), /for: 9m/);
        let asked = "";
        page.once("dialog", (dialog) => {
            asked = dialog.type();
            dialog.dismiss();
        });
        await page.evaluate(() => setTimeout(() => location.reload(), 0));
        while (!asked) await page.waitForFunction(() => true);
        assert.equal(asked, "beforeunload");
        page.once("dialog", (dialog) => dialog.accept());
        await button(page, "Undo my changes").click();
        await page.waitForFunction(() => document.querySelector("#rules-text").value.includes("for: 3m"));
    });

    on(EDIT, "is made by keyboard alone: Tab leaves the text", async ({ page }) => {
        await text(page).focus();
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Check");
        assert.equal(await text(page).inputValue(), TEXT);
    });

    on(EDIT, "that cannot be checked says so and can be tried again", async ({ page, mock, wrong }) => {
        mock.world.fail.add("rules/check");
        await button(page, "Check").click();
        await page.getByText("the store is busy").waitFor();
        mock.world.fail.clear();
        await button(page, "Try again").click();
        await page.getByText("212 → 41").waitFor();
        wrong.splice(0, wrong.length, ...wrong.filter((said) => !said.includes("status of 503")));
    });
});

on(EDIT, "axe finds nothing serious, nothing is too wide; light, dark and on a phone", async ({ page }) => {
    await fill(page, "# what matters", "# fails hmm");
    await fill(page, "for: 3m", "for: 5m");
    await button(page, "Check").click();
    await page.getByText("212 → 41").waitFor();
    await page.getByText("Would have missed: 1").click();
    await page.getByText("Those that pass").click();
    await everyLook(page, "rules", { fullPage: true });
});
