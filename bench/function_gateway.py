#!/usr/bin/env python3
"""The gateway of functions beside nginx, in turns, in one run: a guest of WebAssembly with an
instance of its own for each request beside a static file of the same 13 bytes, and the gateway's
passing on beside nginx' proxy_pass, both to the same server.

Whoever is measured is one process on CPU 0 (the gateway with what threads it has); wrk, and the
server behind, are on CPU 1. Then what others notice
of guests that do not end, on the same CPU. `function_gateway.py wasm|proxy|runaway` does only the one.
"""

import http.server
import json
import os
import re
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench_figures import figure, say

ROUNDS = 5
SECONDS = 2
CONNECTIONS = 32
HELLO = b"hello, world\n"
GUEST = b"""(module (import "synor" "response_write" (func $write (param i32 i32)))
 (memory (export "memory") 1) (data (i32.const 0) "hello, world\\n")
 (func (export "synor_handle") (result i32) (call $write (i32.const 0) (i32.const 13))
  (i32.const 0)))"""
ENDLESS = b"""(module (memory (export "memory") 1)
 (func (export "synor_handle") (result i32) (loop $l (br $l)) (i32.const 0)))"""
RUNAWAYS = 4
NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/pid;
error_log {dir}/error.log crit; events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
upstream back {{ server 127.0.0.1:{back}; keepalive 64; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port}; root {dir};
 location /proxy {{ proxy_pass http://back/back; proxy_http_version 1.1;
  proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; }}
 location /back {{ return 200 "hello, world\\n"; }} }} }}
"""


def version(number, **more):
    """A version's document, with what the table has for it."""
    return {"version": number, "weight": 100, "state": "ready", "path": "", "code": "guest",
            "memory_bytes": 128 << 20, "timeout_ms": 10000, "concurrency": 64,
            "max_waiting": 1000, "request_bytes_max": 1 << 20, "response_bytes_max": 1 << 20,
            "fuel": 0, "env": {}, "secrets": {}, "service": None, "endpoints": [], **more}


def function(name, path, row):
    """A function's document."""
    return {"id": "fn-" + name, "name": name, "account": "acct-bench", "state": "active",
            "reason": "", "versions": [row],
            "routes": [{"host": "", "path": path, "methods": ["GET"], "cors": None}]}


class Server(http.server.BaseHTTPRequestHandler):
    """What the gateway asks of a server: the table, the code, and an ear for reports."""
    table = []
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "gateway"

    def log_message(self, *_):
        pass

    def do_GET(self):
        """The table, which ends with the benchmark, or the code."""
        if self.path.startswith("/v1/content/"):
            self.answer(ENDLESS if "endless" in self.path else GUEST, "application/wasm")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event, data in [("snapshot", {}), *(("put", row) for row in self.table), ("synced", {})]:
            self.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()
        while True:
            time.sleep(10)
            self.wfile.write(b": there\n\n")
            self.wfile.flush()

    def do_POST(self):
        """A report."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"{}", "application/json")

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_cpu(cpu):
    return lambda: os.sched_setaffinity(0, {cpu})


def start_nginx(folder, port, back, cpu):
    """An nginx of one process."""
    place = os.path.join(folder, str(port))
    os.mkdir(place)
    with open(os.path.join(place, "hello"), "wb") as file:
        file.write(HELLO)
    conf = os.path.join(place, "nginx.conf")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(NGINX.format(dir=place, port=port, back=back))
    for path, _, names in os.walk(place):
        os.chmod(path, 0o755)
        for name in names:
            os.chmod(os.path.join(path, name), 0o644)
    return subprocess.Popen(["nginx", "-p", place, "-c", conf], preexec_fn=on_cpu(cpu),
                            stdout=sys.stderr)


def wait_for(port, path):
    """Until it answers as it should."""
    for _ in range(500):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as conn:
                conn.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                text = b""
                while block := conn.recv(65536):
                    text += block
                if HELLO in text:
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"nothing answers at port {port} {path}")


def cpu_us(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def ask_wrk(port, path):
    """wrk's report."""
    return subprocess.run(
        ["wrk", "-t1", "--latency", f"-c{CONNECTIONS}", f"-d{SECONDS}", f"http://127.0.0.1:{port}{path}"],
        preexec_fn=on_cpu(1), stdout=subprocess.PIPE, check=True, text=True).stdout


def run_wrk(pid, port, path):
    """Requests a second, and the process' CPU a request in us."""
    before = cpu_us(pid)
    out = ask_wrk(port, path)
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    total = int(re.search(r"(\d+) requests in", out).group(1))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), (cpu_us(pid) - before) / total


def compare(name, ours, theirs, rps_goal, cpu_goal, cpu_ratio):
    """Turn by turn. `cpu_goal` is in us, or (cpu_ratio) in theirs."""
    turns = []
    for turn in range(ROUNDS):
        turns.append((*run_wrk(*ours), *run_wrk(*theirs)))
        say("%s %d: ours %.0f/s %.2f us, nginx %.0f/s %.2f us" % (name, turn + 1, *turns[-1]))
    rps, cpu, their_rps, their_cpu = (statistics.median(column) for column in zip(*turns))
    figure(f"{name}_rps", rps, "req/s", "nginx", their_rps, rps / their_rps, rps_goal,
           rps / their_rps >= rps_goal)
    figure(f"{name}_cpu_us", cpu, "us", "nginx", their_cpu, cpu / their_cpu, cpu_goal,
           (cpu / their_cpu if cpu_ratio else cpu) <= cpu_goal)


def p99_us(report):
    """Of wrk's report."""
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", report).groups()
    return float(number) * {"us": 1, "ms": 1000, "s": 1e6}[unit]


def keep_endless(port, stop):
    """One request after the other for a guest that does not end."""
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as conn:
            conn.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if b" 504 " not in conn.recv(100):
                raise SystemExit("an endless guest was not ended")


def runaways(port):
    """What others notice of guests that do not end; on all CPUs but that of wrk."""
    alone, beside = [], []
    for turn in range(ROUNDS):
        alone.append(p99_us(ask_wrk(port, "/hello")))
        stop = threading.Event()
        threads = [threading.Thread(target=keep_endless, args=(port, stop)) for _ in range(RUNAWAYS)]
        for thread in threads:
            thread.start()
        beside.append(p99_us(ask_wrk(port, "/hello")))
        stop.set()
        for thread in threads:
            thread.join()
        say(f"runaways {turn + 1}: p99 alone {alone[-1]:.0f} us, beside {beside[-1]:.0f} us")
    ours, theirs = statistics.median(beside), statistics.median(alone)
    figure("function_runaway_p99_us", ours, "us", "alone", theirs, ours / theirs, 1.1,
           ours / theirs <= 1.1)


def main():
    """All, or what is asked for."""
    wanted = sys.argv[1:] or ["wasm", "proxy", "runaway"]
    folder = tempfile.mkdtemp(prefix="synor-bench-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "server.sock")
    port, peer, back = free_port(), free_port(), free_port()
    Server.table = [
        function("hello", "/hello", version(1, runtime="wasm")),
        function("endless", "/endless", version(1, runtime="wasm", code="endless",
                                                timeout_ms=500)),
        function("proxy", "/back", version(1, runtime="custom", endpoints=[
            {"instance": "inst-a", "node": "node-a", "address": f"127.0.0.1:{back}"}]))]
    server = UnixServer(path, Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    processes = []
    try:
        processes.append(start_nginx(folder, peer, back, 0))
        processes.append(start_nginx(folder, back, back, 1))
        processes.append(subprocess.Popen(
            [os.environ.get("SYNOR", os.path.join("build", "synor")), "function-gateway",
             "--data-dir", os.path.join(folder, "function"), "--server", path,
             "--listen", f"127.0.0.1:{port}", "--log-level", "warn"],
            preexec_fn=on_cpu(0), stdout=sys.stderr))
        wait_for(back, "/back")
        wait_for(peer, "/hello")
        wait_for(port, "/back")
        gateway, nginx = processes[2].pid, processes[0].pid
        if "wasm" in wanted:
            wait_for(port, "/hello")
            compare("function_wasm", (gateway, port, "/hello"), (nginx, peer, "/hello"),
                    0.8, 40, False)
        if "proxy" in wanted:
            compare("function_proxy", (gateway, port, "/back"), (nginx, peer, "/proxy"),
                    0.9, 1, True)
        if "runaway" in wanted:
            wait_for(port, "/hello")
            runaways(port)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
