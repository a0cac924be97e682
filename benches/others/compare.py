#!/usr/bin/env python3
"""Foghorn beside what a user could pick instead: Debian's prometheus-alertmanager and npm's node-red.

Each gets the same problems (one device down a POST), the same chat server and the same faults, and is set up as its documents say
for Slack. Needs root for apt-get where prometheus-alertmanager is not there, and node for node-red; both go below target/others.

    cargo build --profile dist
    python3 benches/others/compare.py [kills|outage|slow|memory ...] [--only foghorn,alertmanager,node-red]
                                      [--cycles 20] [--slow 2000] [--seconds 300]
"""
import argparse, asyncio, json, os, random, re, resource, shutil, signal, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOLS = ROOT / "target" / "others"
NAMES = re.compile(r"ap-\d{6}")


def install(only):
    if "alertmanager" in only and not shutil.which("prometheus-alertmanager"):
        subprocess.run(["apt-get", "install", "-yq", "--no-install-recommends", "prometheus-alertmanager"], check=True)
    if "node-red" in only and not (TOOLS / "node_modules/node-red").exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", TOOLS, "--no-audit", "--no-fund", "node-red@4"], check=True)


async def read_request(reader):
    """Method line, headers and body of one HTTP/1.1 message; None at its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.I)
    if length:
        return head, await reader.readexactly(int(length[1]))
    body = b""
    if re.search(rb"transfer-encoding: *chunked", head, re.I):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    return head, body


class Chat:
    """Takes messages as Slack does: at most `pace` a second (429 with Retry-After beyond), and 503 while it is down."""

    def __init__(self, pace=None):
        self.pace, self.down, self.told, self.answers, self.last, self.taken = pace, False, Counter(), Counter(), 0.0, []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            while True:
                _, body = await read_request(reader)
                extra, now = b"", time.monotonic()
                if self.down:
                    status = 503
                elif self.pace and self.taken and now - self.taken[-1] < 1 / self.pace:
                    status, extra = 429, b"Retry-After: 1\r\n"
                else:
                    status = 200
                    self.taken.append(now)
                    self.told.update(set(NAMES.findall(body.decode("utf-8", "replace"))))
                self.answers[status], self.last = self.answers[status] + 1, now
                writer.write(b"HTTP/1.1 %d x\r\nContent-Type: text/plain\r\n%sContent-Length: 2\r\n\r\nok" % (status, extra))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def quiet(self, seconds, limit):
        """Waits until nothing has come for so long."""
        end = time.monotonic() + limit
        while time.monotonic() < end and time.monotonic() - self.last < seconds:
            await asyncio.sleep(0.2)


class Program:
    """One of the programs under test, in a folder of its own."""

    def __init__(self, chat, each):
        self.chat, self.each, self.dir = chat, each, Path(tempfile.mkdtemp(prefix=f"compare-{self.name}-"))
        self.port = free_port()

    def start(self):
        self.process = subprocess.Popen(
            self.command(), cwd=self.dir, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log", "ab"), env=os.environ | self.env()
        )

    def env(self):
        return {}

    async def ready(self):
        begun = time.monotonic()
        while time.monotonic() - begun < 60:
            try:
                if (await request(self.port, "GET", self.health, b""))[0] < 500:
                    return time.monotonic() - begun
            except OSError:
                pass
            await asyncio.sleep(0.02)
        sys.exit(f"{self.name} did not start: {(self.dir / 'log').read_text()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def rss(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def files(self):
        return sum(f.stat().st_size for f in self.dir.rglob("*") if f.is_file() and f.name != "log") / 2**20


class Foghorn(Program):
    name, path, health = "foghorn", "/mist", "/healthz"

    def command(self):
        # One message a device where `each`, as fast as the chat takes it; else as shipped: a message a site, Slack's pace.
        pace = ", rate_limit: {limit: 1000, per: 1s, burst: 1000}, overflow: queue" if self.each else ""
        group = "group_by: [device_mac], group_wait: 0s" if self.each else "group_wait: 1s, group_interval: 10s"
        rules = self.dir / "rules.yaml"
        rules.write_text(
            f'destinations: {{chat: {{slack: {{url: "http://127.0.0.1:{self.chat.port}/services/x"}}{pace}}}}}\n'
            f"rules: [{{name: AP unreachable, match: {{condition: ap_offline}}, {group}}}]\n"
        )
        rules.chmod(0o600)
        return [ROOT / "target/dist/foghorn", "serve", "--listen", f"127.0.0.1:{self.port}", "--data", "data"]

    def body(self, n):
        event = {
            "type": "AP_DISCONNECTED", "device_type": "ap", "device_name": f"ap-{n:06}", "mac": f"5c5b35{n:06x}",
            "org_id": "a97c1b22-a4e9-411e-9bfd-d8695a0f9e61", "site_id": "4ac1dcf4-9d8b-7211-65c4-057819f0862b",
            "site_name": "Home", "timestamp": int(time.time()),
        }
        return json.dumps({"topic": "device-events", "events": [event]}).encode()


class Alertmanager(Program):
    name, path, health = "alertmanager", "/api/v2/alerts", "/-/ready"

    def command(self):
        group = "group_by: [device], group_wait: 0s" if self.each else "group_by: [site], group_wait: 1s"
        (self.dir / "config.yml").write_text(
            f"route: {{receiver: chat, {group}, group_interval: 10s, repeat_interval: 12h}}\n"
            "receivers:\n- name: chat\n  slack_configs:\n"
            f'  - {{api_url: "http://127.0.0.1:{self.chat.port}/x", send_resolved: true, title: "{{{{ .CommonLabels.alertname }}}}",\n'
            '      text: "{{ range .Alerts }}{{ .Labels.device }} {{ end }}"}\n'
        )
        return [
            "prometheus-alertmanager", "--config.file=config.yml", "--storage.path=data", f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]

    def body(self, n):
        return json.dumps([{"labels": {"alertname": "AP unreachable", "site": "Home", "device": f"ap-{n:06}"}}]).encode()


class NodeRed(Program):
    name, path, health = "node-red", "/mist", "/"

    def command(self):
        # http in -> function -> http response at once, and http request to Slack: the flow of the blog posts.
        flow = json.loads((HERE / "flow.json").read_text().replace("CHAT", f"http://127.0.0.1:{self.chat.port}/x"))
        (self.dir / "flows.json").write_text(json.dumps(flow))
        (self.dir / "settings.js").write_text(
            f'module.exports = {{uiHost: "127.0.0.1", uiPort: {self.port}, flowFile: "flows.json", logging: {{console: {{level: "error"}}}}}}'
        )
        return ["node", TOOLS / "node_modules/node-red/red.js", "--userDir", self.dir, "--settings", self.dir / "settings.js"]

    body = Foghorn.body


PROGRAMS = {p.name: p for p in (Foghorn, Alertmanager, NodeRed)}


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def request(port, method, path, body, connection=None):
    reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    head, _ = await read_request(reader)
    if connection is None:
        writer.close()
    return int(head.split(b" ", 2)[1]), head


class Load:
    """Posts problems over kept connections, and remembers which were answered 200 and how soon."""

    def __init__(self, program, connections, rate=None):
        self.program, self.connections, self.rate = program, connections, rate
        self.next, self.accepted, self.times, self.failed, self.stop = 0, set(), [], 0, False

    async def one(self, nth):
        connection, due = None, time.monotonic() + (nth / self.rate if self.rate else 0)
        while not self.stop:
            if self.rate:
                await asyncio.sleep(max(0, due - time.monotonic()))
                due += self.connections / self.rate
            n, self.next = self.next, self.next + 1
            begun = time.monotonic()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.program.port)
                status, head = await asyncio.wait_for(
                    request(self.program.port, "POST", self.program.path, self.program.body(n), connection), 30
                )
                if status == 200:
                    self.accepted.add(f"ap-{n:06}")
                    self.times.append(time.monotonic() - begun)
                else:
                    self.failed += 1
                if b"onnection: close" in head:
                    connection = None
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                self.failed, connection = self.failed + 1, None
                await asyncio.sleep(0.02)

    async def run(self, seconds):
        self.stop, begun = False, time.monotonic()
        work = [asyncio.create_task(self.one(nth)) for nth in range(self.connections)]
        await asyncio.sleep(seconds)
        self.stop = True
        await asyncio.gather(*work)
        return time.monotonic() - begun

    def percentile(self, part):
        return sorted(self.times)[int(len(self.times) * part)] * 1000 if self.times else float("nan")


async def kills(kind, args):
    """kill -9 at random moments under load: what was answered 200 and never told, and what was told twice."""
    chat = await Chat().start()
    program, dice = kind(chat, each=True), random.Random(args.seed)
    program.start()
    await program.ready()
    load = Load(program, 4, rate=100)
    for _ in range(args.cycles):
        work = asyncio.create_task(load.run(3600))
        await asyncio.sleep(dice.uniform(0.3, 2))
        program.kill()
        load.stop = True
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        program.start()
        await program.ready()
    await chat.quiet(15, 180)
    program.kill()
    lost, twice = load.accepted - set(chat.told), sum(n - 1 for n in chat.told.values())
    return {"kills": args.cycles, "accepted": len(load.accepted), "never told": len(lost), "told again": twice}


async def outage(kind, args):
    """The chat is down for what would be an hour at 10 problems a minute (600 in 60 s), then takes 1 message a second."""
    chat = await Chat(pace=1).start()
    program = kind(chat, each=False)
    program.start()
    await program.ready()
    chat.down, load = True, Load(program, 1, rate=10)
    await load.run(60)
    chat.down, back, before = False, time.monotonic(), Counter(chat.answers)
    await asyncio.sleep(1)
    while len(chat.told) < len(load.accepted) and time.monotonic() - back < 180:
        await asyncio.sleep(0.2)
    took = time.monotonic() - back
    await chat.quiet(15, 60)
    answers = chat.answers - before
    program.kill()
    whole = len(chat.told) >= len(load.accepted)
    return {
        "accepted": len(load.accepted), "named": len(chat.told), "after, s": round(took, 1) if whole else "never",
        "messages": answers[200], "429s": answers[429], "tries while down": before[503],
    }


async def slow(kind, args):
    """Good posts beside clients that never finish their head."""
    chat = await Chat().start()
    program = kind(chat, each=False)
    program.start()
    await program.ready()
    figures = {}
    trickles = []

    async def trickle():
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
                trickles.append(writer)
                writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\n" % program.path.encode())
                while not stop.is_set() and not reader.at_eof():
                    writer.write(b"X-%d: y\r\n" % random.randrange(10**6))
                    await writer.drain()
                    await asyncio.sleep(5)
            except OSError:
                await asyncio.sleep(1)

    for label, count in (("alone", 0), (f"with {args.slow}", args.slow)):
        stop = asyncio.Event()
        work = [asyncio.create_task(trickle()) for _ in range(count)]
        await asyncio.sleep(5 if count else 0)
        load = Load(program, 8)
        took = await load.run(15)
        figures[label] = f"{len(load.times) / took:.0f}/s, p99 {load.percentile(0.99):.0f} ms, {load.failed} refused"
        stop.set()
        for one in work:
            one.cancel()
        for writer in trickles:
            writer.close()
    program.kill()
    return figures


async def memory(kind, args):
    """200 problems a second, each of another device of 2,000: memory at the start, after a tenth, and at the end."""
    chat = await Chat(pace=1).start()
    program = kind(chat, each=False)
    program.start()
    await program.ready()
    await asyncio.sleep(3)
    whole, idle = program.body, program.rss()
    program.body = lambda n: whole(n % 2000)
    load, figures = Load(program, 4, rate=200), {"idle, MiB": round(idle)}
    await load.run(args.seconds / 10)
    figures["after a tenth"] = round(program.rss())
    await load.run(args.seconds * 9 / 10)
    figures |= {"at the end": round(program.rss()), "accepted": len(load.times), "refused": load.failed, "messages": chat.answers[200],
                "files, MiB": round(program.files(), 1)}
    program.kill()
    return figures


async def main():
    scenarios = {f.__name__: f for f in (kills, outage, slow, memory)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", choices=[*scenarios, []], default=list(scenarios))
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--slow", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    only = args.only.split(",")
    install(only)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    for scenario in args.scenario or list(scenarios):
        print(f"\n{scenario}: {scenarios[scenario].__doc__}", flush=True)
        for name in only:
            figures = await scenarios[scenario](PROGRAMS[name], args)
            print(f"  {name:13} " + "; ".join(f"{key}: {value}" for key, value in figures.items()), flush=True)


asyncio.run(main())
