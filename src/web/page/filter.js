// What events are filtered by. Nothing here touches the page: tests of these functions need no browser.

/** Fields one may filter by, and their labels. */
export const FILTERS = [["topic", "Topic"], ["type", "Type"], ["site", "Site"], ["device", "Device"], ["rule", "Rule"]];
/** Parameters of the view; `q` holds words to search for. */
export const KEYS = ["q", "fate", ...FILTERS.map(([key]) => key)];

/** Whether the event passes all filters but the words: only the server can search for those.
 * @param {Api.Event} event @param {URLSearchParams} params */
export function fits(event, params) {
    return KEYS.every((key) => {
        const wanted = key === "q" ? null : params.get(key)?.trim().toLowerCase();
        return !wanted || matches(event, key, wanted);
    });
}

/** @param {Api.Event} event @param {string} key @param {string} wanted */
function matches(event, key, wanted) {
    const has = (/** @type {unknown} */ value) => String(value ?? "").toLowerCase() === wanted;
    if (key === "rule") return (event.rules ?? []).some(has);
    if (key === "site") return has(event.site) || has(event.site_id);
    if (key === "device") return has(event.device) || mac(event.device_mac) === (mac(wanted) || "-");
    return has(event[/** @type {"fate" | "topic" | "type"} */ (key)]);
}

/** A MAC address without its separators. @param {string | null | undefined} text */
const mac = (text) => String(text ?? "").toLowerCase().replace(/[:.-]/g, "");

/** Whether one event ID is newer than another. An ID is `<journal position>.<place in the POST>`.
 * @param {string} one @param {string} other */
export function newer(one, other) {
    const [a, b] = [one, other].map((id) => id.split(".").map(Number));
    return a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}
