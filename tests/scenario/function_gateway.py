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
import socketserver
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
        if self.path == "/slow":
            time.sleep(SLOW_S)
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
        Server.reports.append(json.loads(body))
        self.answer(b"{}")


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

    def start(self, *wrapper):
        Server.reports.clear()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, SYNOR, "function-gateway", "--data-dir", str(self.data), "--server",
                 self.path, "--listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        return wait_until("it reports where it listens", 20,
                          lambda: next((r["listen"] for r in Server.reports), None), 0.01)

    def get(self, where, path):
        conn = http.client.HTTPConnection(where, timeout=20)
        conn.request("GET", path)
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


@case
def it_ends_with_everything_answered_and_told(w):
    where = next(r["listen"] for r in Server.reports)
    got = []
    threads = [threading.Thread(target=lambda: got.append(w.get(where, "/slow"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(SLOW_S / 2)
    w.process.send_signal(signal.SIGTERM)
    equal(w.process.wait(20), 0, w.log())
    for thread in threads:
        thread.join()
    equal(got, [(200, b"slow\n")] * 8)
    said = {r["seq"]: r for r in Server.reports}
    equal(sum(u["count"] for r in said.values() for u in r["usage"]
              if u["function"] == "fn-slow"), 8)
    check(not (w.data / "gateway.sock").exists(), "the socket is gone")


@case
def it_goes_with_who_started_it(w):
    where = w.start("sh", "-c", '"$@" & wait', "sh")
    wait_until("it serves", 20, lambda: w.serves(where, "/slow"), 0.05)
    w.process.kill()
    w.process.wait()

    def gone():
        try:
            w.get(where, "/slow")
        except OSError:
            return True
        return False
    wait_until("it is gone", 20, gone, 0.05)


run(World())
