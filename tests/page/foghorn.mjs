// The real thing: the built binary in a folder of its own, a chat that answers as it is told, and signed posts.

import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BINARY = process.env.FOGHORN ?? fileURLToPath(new URL("../../target/debug/foghorn", import.meta.url));
const SECRET = "the browser tests' secret";

/** A chat: remembers what it was sent, and answers 200 unless told otherwise for a path. */
export async function chat() {
    const taken = [];
    const answers = new Map();
    const server = createServer((request, response) => {
        let body = "";
        request.on("data", (chunk) => (body += chunk));
        request.on("end", () => {
            const [status, text] = answers.get(request.url) ?? [200, "ok"];
            if (status === 200) taken.push({ path: request.url, body: JSON.parse(body) });
            response.writeHead(status, { "content-type": "text/plain" }).end(text);
        });
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    const url = `http://127.0.0.1:${server.address().port}`;
    return { taken, answers, url, close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }) };
}

/** Serves by these rules; `rules` is given the chat's URL. `env`: more of the environment. */
export async function serve(rules, { env = {}, listen = "127.0.0.1:0" } = {}) {
    const sink = await chat();
    const dir = mkdtempSync(join(tmpdir(), "foghorn-page-"));
    const file = join(dir, "rules.yaml");
    writeFileSync(file, rules(sink.url));
    const child = spawn(BINARY, ["serve", "--listen", listen], {
        cwd: dir, env: { PATH: process.env.PATH, MIST_WEBHOOK_SECRET: SECRET, ...env }, stdio: ["ignore", "pipe", "pipe"],
    });
    const log = [];
    createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
    const ended = new Promise((done) => child.once("exit", done));
    const url = await new Promise((found, failed) => {
        createInterface({ input: child.stdout }).on("line", (line) => line.startsWith("listening on ") && found(line.slice(13)));
        ended.then((code) => failed(new Error(`it ended with ${code}:\n${log.join("\n")}`)));
    });
    const close = async () => {
        child.kill("SIGTERM");
        await ended;
        await sink.close();
        rmSync(dir, { recursive: true, force: true });
    };
    return { url, chat: sink, dir, log, close, rules: () => readFileSync(file, "utf8"), previous: () => (existsSync(`${file}.previous`) ? readFileSync(`${file}.previous`, "utf8") : null), post: (topic, events) => post(url, topic, events) };
}

/** Posts signed events; they must be taken. */
async function post(url, topic, events) {
    const body = JSON.stringify({ topic, events });
    const signature = createHmac("sha256", SECRET).update(body).digest("hex");
    const answer = await fetch(`${url}/mist`, { method: "POST", body, headers: { "x-mist-signature-v2": signature, "content-type": "application/json" } });
    if (answer.status !== 200) throw new Error(`a post was answered ${answer.status}`);
}

/** A device event as Mist sends it; `ago` in seconds. */
export function device(type, name, more = {}, ago = 0) {
    const mac = [...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 0xffffff, 7).toString(16).padStart(6, "0");
    return {
        type, device_name: name, device_type: /^sw/.test(name) ? "switch" : "ap", mac: `5c5b35${mac}`,
        site_id: "978c48e6-6ef6-11e6-8bbf-02e208b2d34f", site_name: "Home", org_id: "1688605f-916a-47a1-8c68-f19618300a08",
        timestamp: Date.now() / 1000 - ago, ...more,
    };
}

/** What `server.password` holds for a password. */
export function hashed(password) {
    return execFileSync(BINARY, ["hash-password"], { input: `${password}\n`, encoding: "utf8" }).match(/\$argon2id\S+?(?=['"\s]|$)/)[0];
}
