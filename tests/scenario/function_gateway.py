#!/usr/bin/env python3
"""The gateway of functions as a process: what it may do, and how it ends. Its server is pretended
here, so that nothing else is needed; the road through a real one is that of functions."""
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time

from harness import SYNOR, Skip, UnixConnection, case, check, equal, run, wait_until

GUEST = (b'(module (import "synor" "response_write" (func $write (param i32 i32)))'
         b'(memory (export "memory") 1) (data (i32.const 0) "hello, world\\n")'
         b'(func (export "synor_handle") (result i32) (call $write (i32.const 0) (i32.const 13))'
         b'(i32.const 0)))')
SLOW_S = 0.5


class Server(http.server.BaseHTTPRequestHandler):
    """Table, code and ear of a server; and an instance that takes its time."""
    protocol_version = "HTTP/1.1"
    table, reports, fetched, refuse = {}, [], [], 0
    certificates, asked = [], []
    answers = threading.Event()  # the instance

    def address_string(self):
        return "gateway"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.partition("?")[0] == "/slow":
            time.sleep(SLOW_S)
            Server.answers.wait()
            self.answer(b"slow\n")
        elif self.path.startswith("/v1/content/"):
            Server.fetched.append(self.path)
            self.answer(GUEST)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            rows = [("snapshot", {}), *(("put", row) for row in self.table.values()), ("synced", {})]
            for event, data in rows:
                self.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
            try:
                while True:
                    time.sleep(0.5)
                    self.wfile.write(b": there\n\n")
                    self.wfile.flush()
            except OSError:
                self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/function-gateway/certificates":
            Server.asked.append(json.loads(body))
            digest = str(len(Server.certificates))
            rows = [{"host": "", "pem": pem} for pem in Server.certificates]
            same = Server.asked[-1]["digest"] == digest
            answer = {"digest": digest} if same else {"digest": digest, "certificates": rows}
            self.answer(json.dumps(answer).encode())
            return
        Server.reports.append(json.loads(body))
        self.answer(b"{}")


def certificate(folder, name):
    """PEM of key and certificate for these hosts, signed by itself."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "10", "-subj", f"/CN={name}", "-addext",
         f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True)
    return cert.read_text() + key.read_text()


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def version(**more):
    return {"version": 1, "weight": 100, "state": "ready", "code": "guest", "path": "",
            "memory_bytes": 1 << 26, "timeout_ms": 5000, "concurrency": 4, "max_waiting": 100,
            "env": {}, "secrets": {}, "endpoints": [], **more}


def function(name, row):
    return {"id": f"fn-{name}", "name": name, "account": "acct-a", "state": "active", "reason": "",
            "routes": [{"host": "", "path": f"/{name}", "methods": ["GET"], "cors": None}],
            "versions": [row]}


class World:
    """The pretended server and the process."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="synor-scenario-"))
        self.data = self.folder / "function"
        self.access = self.folder / "access.log"
        self.path = str(self.folder / "server.sock")
        self.server = UnixServer(self.path, Server)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.instance = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=self.instance.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{self.instance.server_address[1]}"
        Server.table = {
            "hello": function("hello", version(runtime="wasm")),
            "slow": function("slow", version(runtime="custom", endpoints=[
                {"instance": "inst-a", "node": "node-a", "address": address}]))}
        self.process = None
        Server.certificates = [certificate(self.folder, name)
                               for name in ("localhost", "shop.example")]

    def tls(self):
        """Where it is served by TLS."""
        return wait_until("it says where", 20, lambda: next(
            (r["tls_listen"] for r in Server.reports if r.get("tls_listen")), None), 0.01)

    def openssl(self, *options, text=b""):
        """What `openssl s_client` says."""
        done = subprocess.run(["openssl", "s_client", "-connect", self.tls(), *options],
                              input=text, capture_output=True, timeout=20, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def curl(self, path, *options, host="shop.example"):
        port = self.tls().rpartition(":")[2]
        return subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--cacert", str(self.folder / f"{host}.crt"),
             "--resolve", f"{host}:{port}:127.0.0.1", *options, f"https://{host}:{port}{path}"],
            capture_output=True, text=True, check=False)

    def start(self, *wrapper):
        Server.reports.clear()
        Server.answers.set()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, SYNOR, "function-gateway", "--data-dir", str(self.data), "--server",
                 self.path, "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
                 "--access-log", str(self.access)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return wait_until("it reports where it listens", 20,
                          lambda: next((r["listen"] for r in Server.reports), None), 0.01)

    def lines(self, file=None, **want):
        """What the access log has of these requests."""
        rows = [json.loads(line) for line in (file or self.access).read_text().splitlines()]
        return [row for row in rows if all(row.get(k) == v for k, v in want.items())]

    def get(self, where, path, **headers):
        conn = http.client.HTTPConnection(where, timeout=60)
        conn.request("GET", path, headers=headers)
        answer = conn.getresponse()
        return answer.status, answer.read()

    def serves(self, where, path):
        """What it reports it listens on it opens a moment later."""
        try:
            return self.get(where, path)[0] == 200
        except ConnectionRefusedError:
            return False

    def clean(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.instance.shutdown()
        self.server.shutdown()
        self.instance.server_close()
        self.server.server_close()
        shutil.rmtree(self.folder)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-3000:]


@case
def it_serves_with_no_power(w):
    where = w.start()
    wait_until("it serves", 20, lambda: w.serves(where, "/slow"), 0.05)
    status = pathlib.Path(f"/proc/{w.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        equal(int(fields[name], 16), 0, name)
    equal((fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()), ("1", "2"))
    mode = os.stat(w.data / "gateway.sock").st_mode & 0o777
    equal(oct(mode), "0o600")


@case
def the_server_calls_it_by_its_socket(w):
    conn = UnixConnection(str(w.data / "gateway.sock"), 20)
    conn.request("GET", "/fn-slow@1/slow", headers={"x-synor-trigger": "schedule",
                                                     "x-synor-invocation": "inv-a"})
    answer = conn.getresponse()
    equal((answer.status, answer.read()), (200, b"slow\n"))
    wait_until("it is told", 20, lambda: [
        i for r in Server.reports for i in r["invocations"]
        if (i["id"], i["trigger"], i["status"]) == ("inv-a", "schedule", "ok")], 0.05)


@case
def requests_are_logged(w):
    where = Server.reports[0]["listen"]
    w.get(where, "/slow?token=hidden", Host="shop.example", Authorization="Bearer hidden")
    row = wait_until("it is written", 20, lambda: w.lines(host="shop.example"), 0.02)[0]
    equal((row["method"], row["path"], row["status"], row["bytes"], row["protocol"]),
          ("GET", "/slow", 200, 5, "HTTP/1.1"))
    equal((row["remote"], row["function"], row["version"], row["way"], row["tls"]),
          ("127.0.0.1", "fn-slow", 1, "warm", False))
    check(row["duration_us"] >= SLOW_S * 1e6, row)
    check("hidden" not in w.access.read_text(), "a secret is in the access log")
    equal(w.lines(path="/fn-slow@1/slow"), [], "the server's own calls")
    w.get(where, "/none")
    row = wait_until("it is written", 20, lambda: w.lines(path="/none"), 0.02)[0]
    equal((row["status"], row.get("function")), (404, None))
    rotated = w.folder / "access.log.old"
    w.access.rename(rotated)
    w.process.send_signal(signal.SIGHUP)
    wait_until("the file is there again", 20, w.access.exists, 0.02)
    w.get(where, "/other")
    wait_until("it is written there", 20, lambda: w.lines(path="/other"), 0.02)
    equal(w.lines(rotated, path="/other"), [])


@case
def names_choose_certificates(w):
    wait_until("it serves TLS", 20, lambda: w.curl("/slow").returncode == 0, 0.1)
    for name, subject in (("shop.example", "shop.example"), ("other.example", "localhost")):
        code, said = w.openssl("-servername", name, "-tls1_3", "-brief")
        check(f"CN = {subject}" in said, said)
    code, said = w.openssl("-noservername", "-brief")
    check("CN = localhost" in said, said)
    code, said = w.openssl("-tls1_2")
    check(code != 0 and "protocol version" in said, said)
    code, said = w.openssl("-servername", "shop.example", "-alpn", "http/1.1")
    check("ALPN protocol: http/1.1" in said, said)
    code, said = w.openssl("-servername", "shop.example", "-alpn", "http/1.1,h2")
    check("ALPN protocol: h2" in said, said)
    code, said = w.openssl("-servername", "shop.example", "-alpn", "imap")
    check(code != 0 and "no application protocol" in said, said)
    done = w.curl("/slow", "--http1.1", "-w", "%{ssl_verify_result} %{http_code}")
    equal((done.returncode, done.stdout), (0, "slow\n0 200"), done.stderr)
    row = wait_until("it is written", 20, lambda: w.lines(
        host=f"shop.example:{w.tls().rpartition(':')[2]}", tls=True), 0.02)[0]
    equal((row["status"], row["function"]), (200, "fn-slow"))


@case
def sessions_are_resumed(w):
    port = int(w.tls().rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(w.folder / "shop.example.crt"))
    session = None
    for reused in (False, True):
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            with context.wrap_socket(plain, server_hostname="shop.example",
                                     session=session) as conn:
                conn.sendall(b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                while conn.recv(4096):
                    pass
                equal(conn.session_reused, reused)
                session = conn.session


@case
def certificates_change_under_a_connection(w):
    port = int(w.tls().rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(w.folder / "shop.example.crt"))
    ask = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        with context.wrap_socket(plain, server_hostname="shop.example") as conn:
            conn.sendall(ask)
            check(conn.recv(4096).startswith(b"HTTP/1.1 404"), "an answer")
            Server.certificates = [*Server.certificates, certificate(w.folder, "new.example")]
            wait_until("it is served", 20, lambda: "CN = new.example" in w.openssl(
                "-servername", "new.example", "-brief")[1], 0.2)
            conn.sendall(ask)
            check(conn.recv(4096).startswith(b"HTTP/1.1 404"), "an answer on the same connection")


@case
def http2_is_spoken(w):
    where, large = Server.reports[0]["listen"], w.folder / "large"
    large.write_bytes(os.urandom(1 << 20))
    if "HTTP2" not in subprocess.run(["curl", "--version"], capture_output=True, text=True,
                                     check=False).stdout:
        raise Skip("curl without HTTP/2")
    done = w.curl("/slow", "-w", "%{http_version} %{http_code}", "--http2")
    equal((done.returncode, done.stdout), (0, "slow\n2 200"), done.stderr)
    row = wait_until("it is written", 20, lambda: w.lines(protocol="HTTP/2", tls=True), 0.02)[0]
    equal((row["host"], row["status"], row["bytes"], row["function"], row["way"]),
          (f"shop.example:{w.tls().rpartition(':')[2]}", 200, 5, "fn-slow", "warm"))

    def plain(path, *options):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", "-w",
             "\\n%{http_version} %{http_code} %{size_upload}", *options, f"http://{where}{path}"],
            capture_output=True, text=True, check=False)
        equal(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()
    equal(plain("/slow")[-1], "2 200 0")
    answer = plain("/slow", "--data-binary", f"@{large}")  # answered while it is still sent
    equal(answer[-1][:5], "2 405", answer)
    equal(plain("/none", "--head")[-1], "2 404 0")


@case
def streams_share_a_connection(w):
    where = Server.reports[0]["listen"]
    if shutil.which("h2load") is None:
        raise Skip("no h2load")
    said = subprocess.run(["h2load", "-n", "8", "-c", "1", "-m", "8", f"http://{where}/slow"],
                          capture_output=True, text=True, timeout=60, check=False).stdout
    check("8 succeeded" in said, said)


@case
def guests_are_compiled_once(w):
    where = Server.reports[0]["listen"]
    status, body = w.get(where, "/hello")
    if b"WebAssembly is not here" in body:
        raise Skip("there is no Wasmtime")
    equal((status, body), (200, b"hello, world\n"))
    equal(len(Server.fetched), 1)
    w.process.kill()
    w.process.wait()
    equal(w.start(), where, "the address stays")
    wait_until("it serves again", 20, lambda: w.serves(where, "/hello"), 0.05)
    equal(len(Server.fetched), 1)
    equal(len(list((w.data / "modules").glob("*.cwasm"))), 1)


def is_gone(w, where):
    """Nobody takes a connection there."""
    try:
        w.get(where, "/none")
    except OSError:
        return True
    return False


def under_way(name):
    """How many calls of a function the gateway has, as it told last."""
    loads = [row for r in Server.reports for row in r["loads"] if row["function"] == f"fn-{name}"]
    return loads[-1]["running"] + loads[-1]["waiting"] if loads else 0


@case
def it_ends_with_everything_answered_and_told(w):
    where = next(r["listen"] for r in Server.reports)
    got = []
    Server.answers.clear()
    threads = [threading.Thread(target=lambda: got.append(w.get(where, "/slow"))) for _ in range(8)]
    second = subprocess.Popen(["curl", "-sS", "--max-time", "60", "--http2-prior-knowledge",
                               f"http://{where}/slow"], stdout=subprocess.PIPE)
    for thread in threads:
        thread.start()
    wait_until("it has them all", 20, lambda: under_way("slow") == 9, 0.02)
    w.process.send_signal(signal.SIGTERM)
    wait_until("it takes no more", 20, lambda: is_gone(w, where), 0.02)
    Server.answers.set()
    equal(w.process.wait(20), 0, w.log())
    for thread in threads:
        thread.join()
    equal(got, [(200, b"slow\n")] * 8)
    equal(second.communicate()[0], b"slow\n")
    said = {r["seq"]: r for r in Server.reports}
    equal(sum(u["count"] for r in said.values() for u in r["usage"]
              if u["function"] == "fn-slow"), 9)
    check(not (w.data / "gateway.sock").exists(), "the socket is gone")


@case
def it_goes_with_who_started_it(w):
    where = w.start("sh", "-c", '"$@" & wait', "sh")
    wait_until("it serves", 20, lambda: w.serves(where, "/slow"), 0.05)
    w.process.kill()
    w.process.wait()
    wait_until("it is gone", 20, lambda: is_gone(w, where), 0.05)


run(World())
