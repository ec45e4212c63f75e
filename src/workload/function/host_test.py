"""Host programs of functions, run by the real interpreters.

    host_test.py FOLDER RENEW    where host.py and host.mjs are, and the module renew.node

A language that the machine lacks is skipped.
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

FOLDER, RENEW = (pathlib.Path(name).resolve() for name in sys.argv[1:])
WAIT_S = 60

PYTHON = '''
import os, sys, threading, time
both = threading.Barrier(2)
class Wrong(Exception):
    pass
def echo(event, context):
    print("echo", event["path"] if isinstance(event, dict) and "path" in event else "")
    return {"event": event, "id": context.request_id, "left": context.remaining_ms(),
            "function": context.function, "version": context.version,
            "trigger": context.trigger, "size": len(context.body), "env": os.environ.get("OWN")}
def dispatch(event, context):
    return globals()[event["query"]["do"]](event, context)
def text(event, context):
    return "h\\u00e4"
def octets(event, context):
    return bytes(range(256))
def null(event, context):
    return None
def answer(event, context):
    return {"status": 201, "headers": {"x-own": "1", "set-cookie": ["a=1", "b=2"]}, "body": {"a": [1]}}
def lambda_answer(event, context):
    return {"statusCode": 200, "isBase64Encoded": True, "body": "/wA="}
def data(event, context):
    return {"status": "ok"}
def raises(event, context):
    raise Wrong("no such thing")
def split(event, context):
    return {"status": 200, "headers": {"x-a": "b\\r\\nx-c: d"}, "body": ""}
def stream(event, context):
    def pieces():
        for i in range(3):
            yield f"piece {i} "
    return pieces()
def breaks(event, context):
    def pieces():
        yield "one"
        raise OSError("half way")
    return pieces()
def late(event, context):
    while True:
        pass
def deaf(event, context):
    time.sleep(60)
def meet(event, context):
    both.wait(30)
    return "met"
async def waits(event, context):
    import asyncio
    await asyncio.sleep(0)
    return "awaited"
async def flows(event, context):
    yield {"n": 1}
    yield {"n": 2}
def slow(event, context):
    sys.stderr.write("slow begins\\n")
    time.sleep(0.3)
    return "done"
'''
NODE = '''
import { setTimeout as sleep } from 'node:timers/promises';
class Wrong extends Error { constructor(text) { super(text); this.name = 'Wrong'; } }
let meeting = null;
const own = {
  text: () => 'h\\u00e4',
  octets: () => Uint8Array.from({ length: 256 }, (_, i) => i),
  null: () => null,
  answer: () => ({ status: 201, headers: { 'x-own': 1, 'set-cookie': ['a=1', 'b=2'] }, body: { a: [1] } }),
  lambda_answer: () => ({ statusCode: 200, isBase64Encoded: true, body: '/wA=' }),
  data: () => ({ status: 'ok' }),
  raises: () => { throw new Wrong('no such thing'); },
  split: () => ({ status: 200, headers: { 'x-a': 'b\\r\\nx-c: d' }, body: '' }),
  stream: () => (function* pieces() { for (let i = 0; i < 3; i++) yield `piece ${i} `; })(),
  breaks: () => (async function* pieces() { yield 'one'; throw new Error('half way'); })(),
  late: (event, { signal }) => new Promise((_, no) => signal.onabort = () => no(signal.reason)),
  meet: () => new Promise((resolve) => { if (meeting) { meeting('met'); resolve('met'); } else meeting = resolve; }),
  waits: async () => { await sleep(0); return 'awaited'; },
  flows: () => (async function* pieces() { yield { n: 1 }; yield { n: 2 }; })(),
  slow: async () => { console.error('slow begins'); await sleep(300); return 'done'; },
};
export const dispatch = (event, context) => own[event.query.do](event, context);
export const echo = (event, context) => {
  console.log('echo', event?.path ?? '');
  return { event, id: context.request_id, left: context.remaining_ms(), function: context.function,
    version: context.version, trigger: context.trigger, size: context.body.length, env: process.env.OWN };
};
'''
RUBY = '''
require 'json'
class Wrong < StandardError; end
$lock, $met, $both = Mutex.new, 0, ConditionVariable.new
def echo(event, context)
  puts "echo #{event['path'] if event.is_a?(Hash)}"
  { 'event' => event, 'id' => context.request_id, 'left' => context.remaining_ms,
    'function' => context.function, 'version' => context.version, 'trigger' => context.trigger,
    'size' => context.body.bytesize, 'env' => ENV['OWN'] }
end
def dispatch(event:, context:)
  send("do_#{event['query']['do']}")
end
def do_text = "h\u00e4"
def do_octets = (0..255).to_a.pack('C*')
def do_null = nil
def do_answer = { status: 201, headers: { 'x-own' => 1, 'set-cookie' => ['a=1', 'b=2'] }, body: { a: [1] } }
def do_lambda_answer = { 'statusCode' => 200, 'isBase64Encoded' => true, 'body' => '/wA=' }
def do_data = { status: 'ok' }
def do_raises = raise(Wrong, 'no such thing')
def do_split = { status: 200, headers: { 'x-a' => "b\\r\\nx-c: d" }, body: '' }
def do_stream = Enumerator.new { |to| 3.times { |i| to << "piece #{i} " } }
def do_breaks = Enumerator.new { |to| to << 'one'; raise IOError, 'half way' }
def do_late = loop { sleep }
def do_deaf
  sleep 60
rescue Exception
  sleep 60
end
def do_meet
  $lock.synchronize do
    $met += 1
    $both.broadcast
    $both.wait($lock, 30) while $met < 2
  end
  'met'
end
def do_waits = Thread.new { 'awaited' }.value
def do_flows = [{ n: 1 }, { n: 2 }].each
def do_slow
  warn 'slow begins'
  sleep 0.3
  'done'
end
'''
# All that a loop has, and what other threads do for it while nothing else happens.
NODE_RENEWS = r'''
import http from 'node:http';
import net from 'node:net';
import { exec } from 'node:child_process';
import { pbkdf2, randomBytes } from 'node:crypto';
import { closeSync, readFile, readdirSync, readlinkSync, stat, watch } from 'node:fs';
import { once } from 'node:events';
import { promisify } from 'node:util';

const kind = (fd) => { try { return readlinkSync(`/proc/self/fd/${fd}`); } catch { return ''; } };
const loops = () => String(readdirSync('/proc/self/fd').filter((fd) => kind(fd).includes('eventpoll')));
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const module = { exports: {} };
process.dlopen(module, process.argv[2]);
const server = http.createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address();
const get = async () => {
  const [answer] = await once(http.get({ port, agent: false }), 'response');
  let body = '';
  for await (const piece of answer) body += piece;
  return body;
};
let [ticks, signals, changes] = [0, 0, 0];
const timer = setInterval(() => { ticks += 1; }, 5);
process.on('SIGTERM', () => { signals += 1; });
const watcher = watch('.', () => { changes += 1; });
const kept = net.connect(port, '127.0.0.1');
await once(kept, 'connect');
const closed = [await get(), await get()];
const meanwhile = Promise.all([promisify(readFile)('/etc/passwd'), promisify(randomBytes)(32),
  promisify(pbkdf2)('a', 'b', 1000, 32, 'sha512')]);
await new Promise(setImmediate);
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
const had = loops();
closeSync(0); // the first number that is free: another epoll instance gets it
module.exports();
const anew = loops() !== had;
stat('/', () => {});
const [file] = await meanwhile;
const before = ticks;
await pause(50);
process.kill(process.pid, 'SIGTERM');
await promisify(exec)('touch changed');
while (signals === 0 || changes === 0) await pause(10);
kept.write('GET / HTTP/1.1\r\nhost: f\r\n\r\n');
const [answer] = await once(kept, 'data');
console.log(JSON.stringify([anew, file.length > 0, ticks > before, signals, ...closed, await get(),
  String(answer).slice(0, 12)]));
clearInterval(timer);
watcher.close();
kept.destroy();
server.close();
'''
LANGUAGES = {
    "python": ("python3", ["-B", FOLDER / "host.py"], "main.py", PYTHON),
    "node": ("node", [FOLDER / "host.mjs"], "main.mjs", NODE),
    "ruby": ("ruby", [FOLDER / "host.rb"], "main.rb", RUBY),
}


def check(condition, *said):
    if not condition:
        raise AssertionError(" ".join(map(str, said)) or "condition does not hold")


def equal(got, want, *said):
    check(got == want, *said, f"got {got!r}, want {want!r}")


class Host:
    """A host program with a function's code, on a port of its own."""

    def __init__(self, language, handler="main.dispatch", files=None, layer=None, **env):
        program, args, name, source = LANGUAGES[language]
        self.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.folder.name)
        (root / "code").mkdir()
        for path, text in (files if files is not None else {name: source}).items():
            (root / path if path.startswith("layer/") else root / "code" / path).parent.mkdir(
                parents=True, exist_ok=True)
            (root / path if path.startswith("layer/") else root / "code" / path).write_text(text)
        self.lines, self.said = [], threading.Condition()
        self.child = subprocess.Popen(
            [interpreter(program), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "PORT": "0", "SYNOR_ADDRESS": "127.0.0.1",
                 "SYNOR_CODE": str(root / "code"), "SYNOR_HANDLER": handler,
                 "SYNOR_LAYER": str(root / "layer") if layer else "", "SYNOR_FUNCTION": "hello",
                 "SYNOR_VERSION": "3", "SYNOR_MEMORY_BYTES": "1000", "SYNOR_CONCURRENCY": "4",
                 **env})
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            with self.said:
                self.lines.append(line.decode().rstrip("\n"))
                self.said.notify_all()
        with self.said:
            self.lines.append(None)
            self.said.notify_all()

    def wait(self, text):
        """The first line with the text; fails where the output ends without it."""
        with self.said:
            ok = self.said.wait_for(lambda: self.find(text) or None in self.lines, WAIT_S)
            check(ok and self.find(text), f"no {text!r} in", self.lines)
            return self.find(text)

    def find(self, text):
        return next((line for line in self.lines if line is not None and text in line), None)

    @property
    def port(self):
        return int(self.wait("listens on port").split()[-1])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def call(self, target, method="GET", body=None, headers=None, link=None):
        link = link or self.connect()
        link.request(method, target, body, headers or {})
        answer = link.getresponse()
        answer.content = answer.read()
        return answer

    def raw(self, octets, end=False):
        """What comes back for these bytes, until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_S) as link:
            link.sendall(octets)
            if end:
                link.shutdown(socket.SHUT_WR)
            got = b""
            while piece := link.recv(65536):
                got += piece
            return got

    def ended(self):
        status = self.child.wait(WAIT_S)
        with self.said:
            self.said.wait_for(lambda: None in self.lines, WAIT_S)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.folder.cleanup()


def interpreter(name):
    """As a node has it: of the system, not of a version manager."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return shutil.which(name)


# --- cases: each is run once a language -----------------------------------------------------------

def event_and_context(language):
    with Host(language, "main.echo", OWN="mine") as host:
        answer = host.call("/a%20b/c?x=1&y=%C3%A4&x=2", "POST", '{"k": [1]}', {
            "Content-Type": "application/json", "X-Request-Id": "r-1", "Cookie": "a=1",
            "X-Synor-Deadline": str(time.time_ns() // 1000000 + 60000), "X-Synor-Version": "4"})
        equal(answer.status, 200, answer.content)
        equal(answer.headers["content-type"], "application/json")
        cold = answer.headers["x-synor-cold"]
        check(cold.startswith("create=") and ";initialise=" in cold, cold)
        got = json.loads(answer.content)
        event = got["event"]
        equal((event["method"], event["path"], event["query"], event["raw_query"]),
              ("POST", "/a%20b/c", {"x": "1,2", "y": "\u00e4"}, "x=1&y=%C3%A4&x=2"))
        equal((event["json"], event["body"], event["body_base64"]), ({"k": [1]}, '{"k": [1]}', None))
        equal((event["headers"]["cookie"], event["headers"]["x-request-id"]), ("a=1", "r-1"))
        equal((got["id"], got["function"], got["version"], got["trigger"], got["size"], got["env"]),
              ("r-1", "hello", 4, "http", 10, "mine"))
        check(50000 < got["left"] <= 60000, got["left"])
        host.wait("echo /a%20b/c")
        second = host.call("/")
        equal(second.headers["x-synor-cold"], None)
        equal(json.loads(second.content)["left"], None)


def other_triggers(language):
    with Host(language, "main.echo") as host:
        for body, want in ((b'{"n": 1}', {"n": 1}), (b"", None), (b"words", "words")):
            answer = host.call("/", "POST", body, {"x-synor-trigger": "queue"})
            equal(json.loads(answer.content)["event"], want)


def binary_bodies(language):
    with Host(language, "main.echo") as host:
        body = bytes(range(256)) * 1024
        got = json.loads(host.call("/", "POST", body).content)
        equal((got["size"], got["event"]["body"]), (len(body), None))
        equal(len(got["event"]["body_base64"]), (len(body) + 2) // 3 * 4)
        equal(host.call("/", "POST", "{", {"content-type": "application/json"}).status, 400)


def results(language):
    with Host(language) as host:
        link = host.connect()
        for do, want in (
                ("text", (200, "text/plain; charset=utf-8", "h\u00e4".encode())),
                ("octets", (200, "application/octet-stream", bytes(range(256)))),
                ("null", (200, "application/json", b"null")),
                ("answer", (201, "application/json", b'{"a":[1]}')),
                ("lambda_answer", (200, "application/octet-stream", b"\xff\0")),
                ("data", (200, "application/json", b'{"status":"ok"}')),
                ("waits", (200, "text/plain; charset=utf-8", b"awaited")),
                ("stream", (200, "text/plain; charset=utf-8", b"piece 0 piece 1 piece 2 ")),
                ("flows", (200, "application/x-ndjson", b'{"n":1}\n{"n":2}\n'))):
            answer = host.call(f"/?do={do}", link=link)  # all over one connection
            equal((answer.status, answer.headers["content-type"], answer.content), want, do)
            if do == "answer":
                equal(answer.headers["x-own"], "1")
                equal(answer.headers.get_all("set-cookie"), ["a=1", "b=2"])
        head = host.call("/?do=text", "HEAD")
        equal((head.status, head.content, head.headers["content-length"]), (200, b"", "3"))


def errors(language):
    with Host(language) as host:
        answer = host.call("/?do=raises", headers={"x-request-id": "r-7"})
        equal((answer.status, answer.headers["x-synor-error"]), (500, "Wrong"))
        equal(json.loads(answer.content), {"error": {"type": "Wrong", "message": "no such thing"}})
        host.wait("request r-7:")
        host.wait("main.")  # its stack
        answer = host.call("/?do=split")
        equal((answer.status, answer.headers["x-c"]), (500, None))
        try:
            host.call("/?do=breaks")
            check(False, "a stream that broke looks whole")
        except http.client.IncompleteRead as error:
            equal(error.partial, b"one")
        host.wait("half way")


def deadlines(language):
    with Host(language) as host:
        answer = host.call("/?do=late", headers={
            "x-synor-deadline": str(time.time_ns() // 1000000 + 50), "x-request-id": "r-9"})
        equal(answer.status, 500)
        host.wait("deadline has passed")
        equal(host.call("/?do=text").status, 200)  # it is of use as before
    with Host(language, "main.echo") as host:
        answer = host.call("/", headers={"x-synor-deadline": "9999999999999"})
        equal(answer.status, 200)
        check(json.loads(answer.content)["left"] > 2 ** 31)
        equal(host.find("arning"), None, host.lines)


def deaf_handlers(language):
    """What does not hear of its deadline ends the instance; node's event loop is ended from outside."""
    if language == "node":
        return
    with Host(language) as host:
        try:
            host.call("/?do=deaf", headers={
                "x-synor-deadline": str(time.time_ns() // 1000000 + 50), "x-request-id": "r-8"})
            check(False, "it answered")
        except (http.client.HTTPException, ConnectionError):
            pass
        equal(host.ended(), 124, host.lines)
        host.wait("request r-8: the handler goes on")


def at_once(language):
    """So many at a time as is asked for, and the check is answered besides."""
    with Host(language, SYNOR_CONCURRENCY="2") as host:
        found = []
        calls = [threading.Thread(target=lambda: found.append(host.call("/?do=meet").content))
                 for _ in range(2)]
        for call in calls:
            call.start()
        equal(host.call("/_synor/health").status, 200)
        for call in calls:
            call.join(WAIT_S)
        equal(found, [b"met", b"met"])


def smuggling(language):
    with Host(language, "main.echo") as host:
        host.wait("listens")
        for octets in (
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\nabcd",
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4, 4\r\n\r\nabcd",
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 4\r\n\r\nabcd",
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
                b"GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
                b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70000 + b"\r\n\r\n",
                b"nonsense\r\n\r\n"):
            got = host.raw(octets)
            check(got[:9] == b"HTTP/1.1 " and got[9:10] in b"45" and got.count(b"HTTP/1.1 ") == 1,
                  octets[:80], got[:200])
        # Two that were sent at once are two, in their order.
        got = host.raw(b"POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
                       b"GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        equal(got.count(b"HTTP/1.1 200 OK"), 2, got)
        check(got.index(b'"/1"') < got.index(b'"/2"'), got)
        # One that is cut short is none.
        check(b"200 OK" not in host.raw(
            b"POST /3 HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc", end=True))
        equal(host.find("echo /3"), None)


def stops(language):
    with Host(language) as host:
        idle = host.connect()
        host.call("/?do=text", link=idle)
        found = []
        call = threading.Thread(target=lambda: found.append(host.call("/?do=slow").content))
        call.start()
        host.wait("slow begins")
        host.child.send_signal(signal.SIGTERM)
        call.join(WAIT_S)
        equal((host.ended(), found), (0, [b"done"]), host.lines)


def useless(language):
    name = LANGUAGES[language][2]
    broken, missing = {"python": ("boom(", "import nowhere_to_be_found"),
                       "node": ("boom(", "import 'nowhere_to_be_found';"),
                       "ruby": ("boom(", "require 'nowhere_to_be_found'")}[language]
    for handler, files, want in (
            ("handler", None, "expected MODULE.FUNCTION"),
            ("other.handler", None, f"it has: {name}"),
            ("main.absent", None, "main has no function absent; it has:"),
            ("main.handler", {name: broken}, "Error"),
            ("main.handler", {name: missing}, "hint: name ")):
        with Host(language, handler, files) as host:
            equal(host.ended(), 1, host.lines)
            host.wait(want)
            equal(host.find("listens"), None)


def layers(language):
    files = {"python": {"main.py": "import part\ndef handler(event, context):\n    return part.name\n",
                        "layer/part.py": "name = 'of the layer'\n"},
             "node": {"main.js": "exports.handler = async () => require('part').name;",
                      "layer/part/index.js": "exports.name = 'of the layer';"},
             "ruby": {"main.rb": "require 'part'\ndef handler(event, context) = NAME\n",
                      "layer/part.rb": "NAME = 'of the layer'\n"}}[language]
    with Host(language, "main.handler", files, layer=True) as host:
        equal(host.call("/").content, b"of the layer")


def one_file(language):
    source = {"python": "def handler(event, context):\n    return 'alone'\n",
              "node": "export const handler = () => 'alone';\n",
              "ruby": "def handler(_event, _context) = 'alone'\n"}[language]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "whatever")
        path.write_text(source)
        with Host(language, "main.handler", {}, SYNOR_CODE=str(path), TMPDIR=folder) as host:
            equal(host.call("/").content, b"alone")


def renewed(language):
    """Its loop made anew does what it did before, and nothing else has begun."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "main.mjs")
        path.write_text(NODE_RENEWS)
        ran = subprocess.run([interpreter(LANGUAGES[language][0]), path, RENEW], cwd=folder, timeout=WAIT_S,
                             capture_output=True, text=True, check=False)
        equal(ran.stderr, "", ran.returncode)
        equal(json.loads(ran.stdout), [True, True, True, 1, "ok", "ok", "ok", "HTTP/1.1 200"])


CASES = (event_and_context, other_triggers, binary_bodies, results, errors, deadlines, deaf_handlers, at_once,
         smuggling, stops, useless, layers, one_file)
OWN_CASES = {"node": (renewed,)}


def main():
    failed = 0
    cases = [(language, case) for language in LANGUAGES for case in CASES + OWN_CASES.get(language, ())]
    print(f"1..{len(cases)}")
    for number, (language, case) in enumerate(cases):
        name = f"{number + 1} - {language}: {case.__name__.replace('_', ' ')}"
        if interpreter(LANGUAGES[language][0]) is None:
            print(f"ok {name} # SKIP there is no {LANGUAGES[language][0]} here")
            continue
        try:
            case(language)
            print(f"ok {name}", flush=True)
        except Exception:  # whatever it is, the others are run
            failed += 1
            print(f"not ok {name}")
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()),
                  end="", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
