// What became of an event: always an icon and a word, never a colour alone.

import { el, foreign, icon } from "./dom.js";

/** The fates, in the order people care about them. */
export const FATES = ["told", "pending", "suppressed", "unmatched", "duplicate"];

/** @type {Record<string, string>} */
const MEANS = {
    told: "a message tells of it",
    pending: "it must last a while before anything is said",
    suppressed: "something keeps it quiet",
    unmatched: "no rule looks for it",
    duplicate: "the same event had come before",
};

/** @type {Record<string, string>} */
const WHY = {
    inhibited: "explained",
    silenced: "silenced",
    muted: "outside its hours",
    maintenance: "in a maintenance",
    flapping: "flapping",
    cooldown: "told just before",
    planned: "away on purpose",
    ended_untold: "over before told",
    below_threshold: "too few yet",
    nothing_open: "nothing was open",
    overtaken: "overtaken",
    too_old: "too old",
    over_limit: "too much is open",
    rule_removed: "its rule is gone",
    nobody_to_tell: "nobody to tell",
    expected: "as expected",
    when_failed: "its “when” failed",
};

/** A fate, as a chip. @param {string} name @param {string | null} [why] */
export function fate(name, why) {
    const known = FATES.includes(name) ? name : "unmatched";
    const because = why ? (WHY[why] ?? String(why)) : null;
    const means = why === "inhibited" ? "another thing that is wrong explains it" : (because ?? MEANS[known]);
    return el(
        "span",
        { class: `fate ${known}`, title: means },
        icon(known),
        foreign(name ?? "?", { max: 24, tag: "span" }),
        because ? foreign(because, { max: 28, tag: "small" }) : null,
    );
}

/** @type {Record<string, string>} */
const SEVERITY_ICON = { critical: "bad", warning: "bad", info: "dot" };

/** A severity, as a word with an icon. @param {string | null} name */
export function severity(name) {
    if (!name) return null;
    return el("span", { class: `severity ${SEVERITY_ICON[name] ? name : ""}` }, icon(SEVERITY_ICON[name] ?? "dot"), foreign(name, { max: 24 }));
}
