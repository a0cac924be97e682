// A server that looks like Foghorn's: the page's own files, under the policy the real one sends, and an API with made-up data.
// By hand: node tests/page/mock.mjs [--port 9000] [--rate 3] [--act]

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import * as rulebook from "./rulebook.mjs";
import { DESTINATIONS, EVIL, event, FEED, incidents, noise, SILENCES, TUNING, whole } from "./world.mjs";

const SRC = fileURLToPath(new URL("../../src/web/", import.meta.url));
const TYPES = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml", html: "text/html; charset=utf-8" };
/** The policy of the real server, read from its code. */
const POLICY = /POLICY: &str = "([^"]+)"/.exec(readFileSync(`${SRC}page.rs`, "utf8").replace(/\\\n\s*/g, ""))?.[1];

const STORED = 5_000;

/**
 * Starts it. `rate`: events a second; `canAct`: whether the page may make silences; `password`: everyone logs in; `closed`: nobody may see it; `empty`: nothing came yet;
 * `slow`: no event can be explained in time; `still`: it counts only when told to.
 */
export async function start({ port = 0, rate = 0, canAct = false, empty = false, slow = false, password = null, closed = false, edit = false, still = false } = {}) {
    const world = { proof: "proof", rate, canAct, empty, slow, password, closed, sessions: new Set(), silences: structuredClone(SILENCES), destinations: structuredClone(DESTINATIONS), acts: [], tuned: 0, streams: new Set(), asked: [], next: STORED, total: 1_204_332, counted: 1_204_332, fail: new Set(), book: rulebook.book(edit) };
    const server = createServer((request, response) => answer(world, request, response));
    await new Promise((ready) => server.listen(port, "127.0.0.1", ready));
    const beat = setInterval(() => pulse(world), 50);
    const second = still ? null : setInterval(() => count(world), 1_000);
    return {
        world,
        url: `http://127.0.0.1:${server.address().port}`,
        send: (kind, data) => broadcast(world, kind, data),
        flood: (count) => flood(world, count),
        count: () => count(world),
        close: () => {
            clearInterval(beat);
            clearInterval(second);
            server.closeAllConnections();
            return new Promise((done) => server.close(done));
        },
    };
}

function pulse(world) {
    // Unless told otherwise all of it: the page must bear a server that does not sample.
    world.owed = (world.owed ?? 0) + world.rate / 20;
    while (world.owed >= 1) {
        world.owed -= 1;
        world.next += 1;
        world.total += 1;
        broadcast(world, "event", event(world.next, new Date().toISOString()));
    }
}

/** So many in one post: stored and counted all of them, told 20, as the real one does. */
function flood(world, count) {
    for (let n = 1; n <= Math.min(20, count); n += 1) broadcast(world, "event", event(world.next + n, new Date().toISOString()));
    world.next += count;
    world.total += count;
}

function count(world) {
    const { totals } = FEED;
    const came = world.total - world.counted;
    world.counted = world.total;
    broadcast(world, "count", { ...totals, total: world.total, per_second: world.rate || came, unmatched: totals.unmatched + world.total - totals.total });
}

function broadcast(world, kind, data) {
    const id = kind === "event" ? `id: ${data.id}\n` : "";
    for (const stream of world.streams) stream.write(`${id}event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
}

function answer(world, request, response) {
    if (world.gone) return request.socket.destroy();
    const url = new URL(request.url, "http://x");
    const path = url.pathname;
    world.asked.push(`${request.method} ${path}${url.search}`);
    if (path === "/") return file(response, "index.html");
    if (path.startsWith("/page/")) return file(response, path.slice(6));
    if (path.startsWith("/api/v1/") && door(world, request, response, path.slice(8))) return;
    if (path === "/api/v1/live") return live(world, request, response);
    if (path.startsWith("/api/v1/")) {
        const part = path.slice(8);
        if (world.fail.has(part)) return json(response, { error: "the store is busy", help: "try again soon" }, 503);
        return api(world, request, response, part, url.searchParams);
    }
    json(response, { error: "nothing here", help: "" }, 404);
}

const HELP = "to see it from elsewhere set `server.password` (`foghorn hash-password` makes it)";

/** Who may: as the real one, with proofs. Whether it was answered here. */
function door(world, request, response, part) {
    const session = /(?:^|; )foghorn=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
    const known = world.sessions.has(session);
    const proof = session ? `proof-of-${session}` : world.proof;
    const inside = !world.closed && (!world.password || known);
    const who = (may, csrf) => ({ name: "", how: may ? (world.password ? "password" : "this machine") : null, csrf: may ? csrf : null, can_see: may, can_act: may && (world.canAct || Boolean(world.password)), login: !may && !world.closed, help: may ? "" : HELP });
    if (part === "me") json(response, who(inside, proof));
    else if (part === "login") logIn(world, request, response, who);
    else if (!inside) json(response, { error: "not logged in", help: "log in" }, world.closed ? 403 : 401);
    else if (request.method !== "GET" && (world.password || world.canAct) && request.headers["x-csrf-token"] !== proof) json(response, { error: "only Foghorn's own page may do that", help: "" }, 403);
    else if (part === "logout") {
        world.sessions.delete(session);
        json(response, who(false));
    } else return false;
    return true;
}

async function logIn(world, request, response, who) {
    let body = "";
    for await (const piece of request) body += piece;
    if (world.limited) return json(response, { error: "too many wrong passwords", help: "try again in 42 s" }, 429);
    if (JSON.parse(body).password !== world.password) return json(response, { error: "that is not the password", help: "" }, 401);
    const session = `s${world.sessions.size + 1}-${Math.random()}`;
    world.sessions.add(session);
    response.setHeader("set-cookie", `foghorn=${session}; Path=/; HttpOnly; SameSite=Strict`);
    json(response, who(true, `proof-of-${session}`));
}

function file(response, name) {
    if (!/^[a-z]+\.[a-z]+$/.test(name)) return json(response, { error: "nothing here" }, 404);
    try {
        const body = readFileSync(`${SRC}page/${name}`);
        response.writeHead(200, { "content-type": TYPES[name.split(".")[1]], "content-security-policy": POLICY, "x-content-type-options": "nosniff" });
        response.end(body);
    } catch {
        json(response, { error: "nothing here" }, 404);
    }
}

function json(response, data, status = 200) {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(data));
}

function live(world, request, response) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(": here\n\n");
    world.streams.add(response);
    request.on("close", () => world.streams.delete(response));
}

function api(world, request, response, part, query) {
    const [name, id] = part.split("/").map(decodeURIComponent);
    if (["rules", "replay-diff"].includes(name)) return rulebook.answer(world, request, part, (data, status) => json(response, data, status));
    if (name === "silences") return silences(world, request, response, id);
    if (name === "dead-letters" || name === "messages") return acts(world, request, response, part.split("/"));
    // As the real one: a word that means nothing here is refused.
    const known = { events: id ? ["decisions"] : ["limit", "before", "q", "topic", "type", "site", "device", "rule", "fate", "why"], noise: ["since"], tune: ["since"] }[name] ?? [];
    if ([...query.keys()].some((key) => !known.includes(key))) return json(response, { error: "that is not asked for here" }, 400);
    const said = {
        events: () => (id ? without(one(world, id), world.slow || query.get("decisions") === "no") : page(world, query)),
        incidents: () => (world.empty ? { incidents: [] } : world.incidents ? { incidents: world.incidents } : incidents()),
        destinations: () => (world.empty ? { destinations: [], dead_letters: [] } : world.destinations),
        feed: () => (world.empty ? { sources: [], totals: {} } : FEED),
        noise: () => (world.empty ? { buckets: [], rules: [], devices: [] } : noise(query.get("since"), world.fresh)),
    }[name]?.();
    if (name === "tune") {
        if (request.method === "POST") world.tuned = 0;
        world.tuned += 1;
        return world.tuned > 1 ? json(response, TUNING) : json(response, { busy: true, since_ms: 12_000 }, 202);
    }
    if (said) json(response, said);
    else json(response, { error: "nothing here", help: "" }, 404);
}

function without(event, decisions) {
    return event && decisions ? { ...event, decisions: null } : event;
}

function one(world, id) {
    if (id === EVIL.id) return whole(EVIL);
    const n = Number.parseInt(id, 10);
    const found = n > 0 && n <= world.next && id === `${n}.0` ? whole({ ...event(n), ...world.odd }) : null;
    if (world.retries) found.messages = found.messages.slice(0, 1).map((m) => ({ ...m, destinations: [{ id: "11", name: "slack", state: "queued", attempts: retried(world.retries) }] }));
    return found;
}

function retried(count) {
    return Array.from({ length: count }, (_, i) => ({ at: new Date(Date.now() - (count - i) * 3_600_000).toISOString(), status: "again", http: 503, reply: `busy ${i + 1} (HTTP 503)` }));
}

/** As the real one: words match from their beginning, the rest whole. */
function page(world, query) {
    const limit = Number(query.get("limit") ?? 50);
    const before = Number.parseInt(query.get("before") ?? `${world.next + 1}`, 10);
    const found = [];
    // As while its index is being made: it looks for a moment, and no further.
    if (world.barren > 0 && query.get("q")) {
        world.barren -= 1;
        // However often it is asked, half of what is stored is still to be looked through.
        return { events: [], next: String(Math.max(before - 5, world.next >> 1)), total_estimate: null };
    }
    const wants = ["topic", "type", "site", "device", "rule", "fate", "q"].filter((key) => query.get(key));
    const has = (e, key) => {
        const wanted = query.get(key).toLowerCase();
        if (key === "rule") return e.rules.some((r) => r.toLowerCase() === wanted);
        if (key !== "q") return String(e[key] ?? "").toLowerCase() === wanted;
        const words = JSON.stringify(e).toLowerCase().split(/[^a-z0-9]+/);
        return wanted.split(/[^a-z0-9]+/).filter(Boolean).every((w) => words.some((word) => word.startsWith(w)));
    };
    if (!world.empty && world.evil && !query.get("before") && !wants.length) found.push(EVIL);
    for (let n = before - 1; n > 0 && found.length < limit && !world.empty; n -= 1) {
        const e = { ...event(n), ...(world.fates?.[`${n}.0`] ? { fate: world.fates[`${n}.0`] } : {}) };
        if (wants.every((key) => has(e, key))) found.push(e);
    }
    const last = Number.parseInt(found.at(-1)?.id ?? "0", 10);
    return { events: found, next: found.length === limit && last > 1 ? String(last) : null, total_estimate: world.total };
}

/** As the real one: by our page only, each dead letter once. */
async function acts(world, request, response, [what, id, act]) {
    if (request.method !== "POST") return json(response, { error: "method not allowed", help: "POST" }, 405);
    if (request.headers["x-csrf-token"] !== world.proof) return json(response, { error: "only Foghorn's own page may do that", help: "" }, 403);
    let body = "";
    for await (const piece of request) body += piece;
    const { to } = JSON.parse(body || "{}");
    world.acts.push([what, id, act, to ?? null].join(" "));
    if (what === "messages") {
        if (world.refuse) return json(response, { error: "it is queued already", help: "it goes out at the destination's pace" }, 409);
        return json(response, { deliveries: [{ destination: to ?? "slack", id: "99" }] });
    }
    const letters = world.destinations.dead_letters;
    const wanted = letters.filter((one) => (id === "all" ? one.destination === to : one.id === id));
    world.destinations.dead_letters = letters.filter((one) => !wanted.includes(one));
    if (id === "all") return json(response, { count: wanted.length });
    if (!wanted.length) return json(response, { error: "there is no such dead letter", help: "look again" }, 404);
    json(response, { deliveries: [{ destination: wanted[0].destination, id: "99" }] });
}

async function silences(world, request, response, id) {
    if (request.method === "GET") return json(response, world.empty ? [] : world.silences);
    if (!world.canAct && !world.password) return json(response, { error: "not authorized", help: "" }, 401);
    if (request.method === "DELETE") {
        const found = world.silences.find((s) => s.id === id);
        world.silences = world.silences.filter((s) => s.id !== id);
        return found ? json(response, found) : json(response, { error: "no such silence is in force", help: "" }, 404);
    }
    let body = "";
    for await (const piece of request) body += piece;
    const asked = JSON.parse(body);
    world.posted = asked;
    const made = { id: "newone01", match: asked.match ?? {}, until: asked.until ?? new Date(Date.now() + 3_600_000).toISOString(), author: asked.author, comment: asked.comment, created: new Date().toISOString(), matching: 0 };
    world.silences.push(made);
    json(response, made, 201);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const option = (name, usual) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : usual);
    const { url, world } = await start({ port: option("--port", 9000), rate: option("--rate", 3), canAct: process.argv.includes("--act") });
    world.evil = process.argv.includes("--evil");
    console.log(`listening on ${url}`);
}
