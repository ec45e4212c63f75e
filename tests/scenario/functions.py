#!/usr/bin/env python3
"""Functions from deploy to bill: modules called through the gateway, versions and their parts of
what comes, kills of the gateway and of the daemon in the middle, and programs of Python that come
from nothing when they are called."""
import asyncio
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from harness import (SOURCE, Platform, Skip, balance, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)

FUNCTION = ("compute", "function")
HELLO = SOURCE / "examples/functions/wasm/hello.wat"
WASMTIME = ("/usr/local/lib/synor/libwasmtime.so.48", "/usr/lib/synor/libwasmtime.so.48")
MEANWHILE = (http.client.HTTPException, OSError)

# Answers a text, and with the path /spin never.
SAYS = """(module
  (import "synor" "response_write" (func $write (param i32 i32)))
  (import "synor" "request_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "synor" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "%s")
  (func (export "synor_handle") (result i32)
    (drop (call $get (i32.const 2) (i32.const 0) (i32.const 256) (i32.const 16)))
    (if (i32.eq (i32.load (i32.const 257)) (i32.const 0x6e697073)) ;; "spin"
      (then (loop $for_ever (br $for_ever))))
    (call $log (i32.const 1) (i32.const 0) (i32.const %d))
    (call $write (i32.const 0) (i32.const %d))
    (i32.const 0)))
"""

PYTHON = """
import base64, os, sys, time

print("begun")


def handler(event, context):
    kind = event["path"].rsplit("/", 1)[-1]
    if kind == "env":
        return {"colour": os.environ["COLOUR"], "secret": os.environ["DB_PASSWORD"],
                "left": context.remaining_ms() > 0, "id": bool(context.request_id)}
    if kind == "raise":
        raise ValueError("as asked")
    if kind == "slow":
        time.sleep(3)
    if kind == "bytes":
        return base64.b64decode(event["body_base64"])[::-1]
    if kind == "teapot":
        return {"status": 418, "headers": {"x-tea": "green"}, "body": "short"}
    print("said", kind)
    return "hello, " + kind
"""


def need_wasm():
    if not any(pathlib.Path(path).exists() for path in WASMTIME):
        raise Skip("Wasmtime is not installed: scripts/wasmtime")


def module(p, text):
    file = pathlib.Path(tempfile.mkdtemp(dir=p.home)) / "module.wat"
    file.write_text(SAYS % (text, len(text), len(text)))
    return file


def deploy(p, name, *options, code=0, runtime="wasm"):
    return p.json(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, *options, "--yes",
                  code=code)


def refused(p, name, *options, code=2, runtime="wasm"):
    return p.error(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, *options, "--yes",
                   code=code)["message"]


def address_of(p, name):
    """Host and port of the gateway."""
    url = p.json(*FUNCTION, "get", name)["status"]["urls"][0]
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def ask(where, method, path, body=None, headers=None, timeout=30):
    """(status, headers, body) of one request by HTTP."""
    connection = http.client.HTTPConnection(*where, timeout=timeout)
    try:
        try:
            connection.request(method, path, body, headers or {})
        except BrokenPipeError:
            pass  # it answered without reading to the end
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def gateway_pid(p):
    return next((pid for pid, line in p.processes() if "function-gateway" in line), None)


@case
def a_module_answers(p):
    need_wasm()
    p.start()
    plan = p.json(*FUNCTION, "deploy", "--name", "hello", "--runtime", "wasm", "--code", HELLO,
                  "--plan")
    check(float(plan["price"]["million_calls"]) > 0 and float(plan["price"]["gb_second"]) > 0, plan)
    said = p.cli(*FUNCTION, "deploy", "--name", "hello", "--runtime", "wasm", "--code", HELLO,
                 "--trigger", "http:GET,POST:/hello/{name}", "--trigger",
                 "http:/open/{name*},cors=https://app.example", "--yes")
    check("version 1 is active" in said.out and "/hello/{name}" in said.out, said)
    check("a million calls" in said.err, said)
    where = address_of(p, "hello")
    status, headers, body = ask(where, "GET", "/hello/ada?x=1")
    equal((status, body), (200, b"hello, ada\n"))
    equal(headers.get("content-type"), "text/plain; charset=utf-8", headers)
    check(headers.get("x-request-id"), headers)
    equal(ask(where, "PUT", "/hello/ada", b"x")[0], 405)
    equal(ask(where, "GET", "/nobody")[0], 404)
    equal(ask(where, "GET", "/open/")[0], 404, "the function's own")
    allowed = ask(where, "OPTIONS", "/open/x", headers={
        "origin": "https://app.example", "access-control-request-method": "POST"})
    equal(allowed[1].get("access-control-allow-origin"), "https://app.example", allowed)
    equal(ask(where, "POST", "/hello/ada", b"x" * (7 << 20))[0], 413)


@case
def every_option_says_something(p):
    """What it becomes stands in the plan. An option that is added gets its value here."""
    need_wasm()
    env = p.home / "variables"
    env.write_text("A=file\nB=file\n")
    code = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (code / "app.py").write_text("")
    p.cli("secret", "set", "tell", stdin="sesame")
    spec = p.json(
        *FUNCTION, "deploy", "--name", "all", "--runtime", "python3", "--handler", "app.go",
        "--code", code, "--dependencies", "synor://layer", "--memory", "1024", "--cpu", "0.5",
        "--ephemeral-storage", "1gb", "--env", "A=1", "--env-file", env, "--timeout", "45s",
        "--concurrency", "7", "--min-instances", "1", "--max-instances", "3", "--idle", "2m",
        "--max-waiting", "9", "--max-request", "1mb", "--max-response", "2mb", "--isolation", "runc",
        "--region", "local", "--trigger", "schedule:@daily,missed=skip", "--canary", "10",
        "--on-success", "queue:good", "--on-failure", "https://hooks.example/bad",
        "--destination-secret", "tell",
        "--max-budget", "2.5", "--billing-period", "1h", "--gpu", "2", "--gpu-type", "h100",
        "--prewarm", "off", "--warmup-schedule",
        "0 9,17 * * 1-5,zone=Europe/Berlin,for=2h,instances=3", "--warmup-schedule", "@daily",
        "--wait", "--plan", code=None)["spec"]
    said = {"handler": "app.go", "memory_bytes": 1 << 30, "cpu_millicores": 500,
            "scratch_bytes": 1 << 30, "env": {"A": "1", "B": "file"}, "timeout_ms": 45000,
            "concurrency": 7, "min_instances": 1, "max_instances": 3, "idle_ms": 120000,
            "max_waiting": 9, "request_bytes_max": 1 << 20, "response_bytes_max": 2 << 20,
            "destinations": {"success": "queue:good", "failure": "https://hooks.example/bad",
                             "secret": "tell"},
            "isolation": "runc", "region": "local", "max_budget": "2.5", "gpus": 2,
            "gpu_model": "h100",
            "billing_period_ms": 3600000, "prewarm": "off", "warmup": [
                {"cron": "0 9,17 * * 1-5", "zone": "Europe/Berlin", "for_ms": 7200000,
                 "instances": 3},
                {"cron": "@daily", "zone": "UTC", "for_ms": 600000, "instances": 1}],
            "triggers": [
                {"type": "schedule", "cron": "@daily", "zone": "UTC", "missed": "skip"}]}
    equal({key: spec[key] for key in said}, said)
    more = p.json(*FUNCTION, "deploy", "--name", "all", "--runtime", "wasm", "--code", HELLO,
                  "--fuel", "1000", "--timeout", "1500", "--no-wait", "--plan")["spec"]
    equal((more["fuel"], more["timeout_ms"]), (1000, 1500))
    more = p.json(*FUNCTION, "deploy", "--name", "all", "--runtime", "custom:127.0.0.1:1/x:1",
                  "--provisioned-concurrency", "2", "--auth-file", env, "--plan", code=None)["spec"]
    equal((more["runtime"], more["min_instances"]), ("custom:127.0.0.1:1/x:1", 2))
    more = p.json(*FUNCTION, "deploy", "--name", "all", "--runtime", "python3", "--code", code,
                  "--handler", "app.go", "--snapstart", "--plan", code=None)["spec"]
    equal((spec["snapstart"], more["snapstart"]), (False, True))
    told = p.cli(*FUNCTION, "deploy", "--help").out.split("Options of every")[0]
    mine = set(re.findall(r'"(--[a-z-]+)"', pathlib.Path(__file__).read_text(encoding="utf-8")))
    equal(set(re.findall(r"^ +(?:-[a-z], )?(--[a-z-]+)", told, re.M)) - mine, set())


@case
def it_is_invoked(p):
    need_wasm()
    said = p.cli(*FUNCTION, "invoke", "hello", "--path", "/bob", "--data", "{}")
    equal(said.out, "hello, bob\n", said)
    check(said.err.startswith("200  ") and "wasm" in said.err, said)
    equal(p.json(*FUNCTION, "invoke", "hello", "--path", "/", code=1)["status"], 404)
    deploy(p, "later", "--code", module(p, "kept"))
    taken = p.json(*FUNCTION, "invoke", "later", "--data", "{}", "--async")["invocation"]
    done = wait_until("it was called", 20, lambda: (
        lambda r: r if r.get("result") else None)(p.json(*FUNCTION, "invocations", "later", taken)))
    equal((done["trigger"], done["state"], done["result"]), ("invoke", "succeeded", "kept"), done)
    check("kept" in p.cli(*FUNCTION, "invocations", "later", taken).out, done)
    p.cli(*FUNCTION, "delete", "later", "--yes")


@case
def what_is_wrong_is_refused(p):
    need_wasm()
    check("cobol" in refused(p, "x", "--code", HELLO, runtime="cobol"), "no runtime named")
    check("custom:IMAGE" in refused(p, "x", "--code", HELLO, runtime="dotnet8"))
    check(refused(p, "x", "--code", HELLO, "--handler", "main.handler").startswith("--handler: "))
    check(refused(p, "x", "--code", HELLO, "--trigger", "http:/a{b}").startswith("--trigger: "))
    check(refused(p, "x", "--code", "synor://no/such", code=1).startswith("--code: "))
    check("hello" in refused(p, "x", "--code", HELLO, "--trigger", "http:/hello/{other}", code=1),
          "whose route it is")
    check(refused(p, "x", "--code", HELLO, "--secret", "KEY=none-such", code=1))
    for word, said in (("@daily", "--warmup-schedule: a module"), ("daily", "--warmup-schedule: "),
                       ("@daily,until=1h", "no option \"until\"")):
        check(said in refused(p, "x", "--code", HELLO, "--warmup-schedule", word), word)
    said = refused(p, "x", "--code", HELLO, "--handler", "m.h", "--gpu", "1", "--gpu-type",
                   "abacus", runtime="python3", code=1)
    check(said.startswith("--gpu-type: the price book has no gpu:abacus"), said)
    bad = pathlib.Path(tempfile.mkdtemp(dir=p.home)) / "bad.wasm"
    bad.write_bytes(b"\0asm\1\0\0\0nonsense")
    said = p.cli(*FUNCTION, "deploy", "--name", "bad", "--runtime", "wasm", "--code", bad, "--yes",
                 code=1)
    check("WebAssembly" in said.out, said)
    equal(p.json(*FUNCTION, "get", "bad")["status"]["state"], "failed")
    p.cli(*FUNCTION, "delete", "bad", "--yes")


@case
def a_version_takes_over_or_does_not(p):
    need_wasm()
    one = deploy(p, "parts", "--code", module(p, "one"), "--trigger", "http:/parts/{rest*}")
    equal(one["status"]["active"], 1)
    again = deploy(p, "parts", "--code", module(p, "one"), "--trigger", "http:/parts/{rest*}")
    equal(again["status"]["target"], 1, "the same again is no version")
    where = address_of(p, "parts")
    two = deploy(p, "parts", "--code", module(p, "two"), "--canary", "10", "--trigger",
                 "http:/parts/{rest*}")
    equal(sorted((row["version"], row["weight"]) for row in two["status"]["traffic"]),
          [(1, 90), (2, 10)])
    wait_until("some of it comes to the new version", 10,
               lambda: ask(where, "GET", "/parts/")[2] == b"two", 0)
    connection = http.client.HTTPConnection(*where, timeout=30)
    count = {b"one": 0, b"two": 0}
    for _ in range(1000):
        connection.request("GET", "/parts/")
        count[connection.getresponse().read()] += 1
    connection.close()
    check(50 <= count[b"two"] <= 150, "a tenth of 1,000, give or take five deviations:", count)
    equal(p.cli(*FUNCTION, "invoke", "parts", "--version", "2").out, "two")
    p.cli(*FUNCTION, "rollback", "parts", "--yes")
    wait_until("all of it comes to the old one", 10,
               lambda: all(ask(where, "GET", "/parts/")[2] == b"one" for _ in range(30)))
    p.json(*FUNCTION, "traffic", "parts", "2=100", "--yes")
    wait_until("all of it comes to the new one", 10,
               lambda: all(ask(where, "GET", "/parts/")[2] == b"two" for _ in range(30)))
    bad = pathlib.Path(tempfile.mkdtemp(dir=p.home)) / "bad.wat"
    bad.write_text("(module)")
    deploy(p, "parts", "--code", bad, "--trigger", "http:/parts/{rest*}", code=1)
    equal(p.json(*FUNCTION, "get", "parts")["status"]["reason"], "version-failed")
    equal(ask(where, "GET", "/parts/")[2], b"two", "the one before goes on")
    states = {v["version"]: v["state"] for v in p.json(*FUNCTION, "versions", "parts")["items"]}
    equal(states, {1: "ready", 2: "ready", 3: "failed"})


@case
def what_runs_away_is_ended(p):
    need_wasm()
    deploy(p, "spins", "--code", module(p, "ok"), "--timeout", "1000", "--trigger", "http:/{what}")
    where = address_of(p, "spins")
    hung = []
    thread = threading.Thread(target=lambda: hung.append(ask(where, "GET", "/spin")[0]))
    thread.start()
    equal(ask(where, "GET", "/well")[2], b"ok", "others go on")
    thread.join(30)
    equal(hung, [504])
    p.cli(*FUNCTION, "suspend", "spins", "--yes", "--wait")
    wait_until("it answers nobody", 10, lambda: ask(where, "GET", "/well")[0] in (402, 503))
    p.cli(*FUNCTION, "resume", "spins", "--yes", "--wait")
    wait_until("it answers", 10, lambda: ask(where, "GET", "/well")[0] == 200)


@case
def it_is_told_what_was(p):
    need_wasm()
    metrics = wait_until("the calls are counted", 20, lambda: (
        lambda m: m if m["count"] >= 1060 else None)(p.json(*FUNCTION, "metrics", "parts")))
    check(metrics["p50_us"] <= metrics["p95_us"] <= metrics["p99_us"], metrics)
    check({"1", "2"} <= set(metrics["by_version"]), metrics)
    wait_until("what it logged is there", 20, lambda: {"one", "two"} <= set(
        p.cli(*FUNCTION, "logs", "parts").out.split()))
    records = wait_until("the call that was ended is on record", 20, lambda: [
        r for r in p.json(*FUNCTION, "invocations", "spins")["items"] if r["status"] == "timeout"])
    one = p.cli(*FUNCTION, "invocations", "spins", records[0]["id"]).out
    check("timeout" in one and "http" in one, one)


def knock(where, text):
    """How /shut/ada answers who has this key; 0: nobody is there."""
    try:
        return ask(where, "GET", "/shut/ada", headers={"x-api-key": text})[0]
    except MEANWHILE:
        return 0


@case
def a_key_opens_it(p):
    need_wasm()
    key = (*FUNCTION, "key")
    deploy(p, "shut", "--code", HELLO, "--trigger", "http:/shut/{name},auth=key")
    where = address_of(p, "shut")
    equal(ask(where, "GET", "/shut/ada")[0], 401)
    ci = p.json(*key, "create", "ci", "--function", "shut", "--ttl", "30d")["key"]
    slow = p.cli(*key, "create", "slow", "--rate", "1", "--burst", "1").out.strip()
    other = p.json(*key, "create", "other", "--function", "hello")["key"]
    said = p.cli(*key, "list").out
    check("shut" in said and "1/s" in said and ci not in said, said)
    wait_until("the gateway knows it", 10, lambda: knock(where, ci) == 200)
    bearer = {"authorization": f"Bearer {ci}"}
    equal(ask(where, "GET", "/shut/ada", headers=bearer)[::2], (200, b"hello, ada\n"))
    wait_until("it is not for this one", 10, lambda: knock(where, other) == 403)
    wait_until("it is too quick", 20, lambda: knock(where, slow) == 429, 0)
    said = p.cli(*FUNCTION, "invoke", "shut", "--path", "/bob").out
    equal(said, "hello, bob\n", "who may do all needs no key")
    os.kill(gateway_pid(p), signal.SIGKILL)
    wait_until("the next gateway knows it", 20, lambda: knock(where, ci) == 200)
    p.cli(*key, "rm", "ci", "--yes")
    wait_until("it opens no more", 10, lambda: knock(where, ci) == 401)
    p.cli(*FUNCTION, "delete", "shut", "--yes")


@case
def events_call_it(p):
    need_wasm()
    p.json("compute", "queue", "create", "orders")
    deploy(p, "events", "--code", module(p, "event"), "--trigger", "queue:orders,batch=2",
           "--trigger", "schedule:* * * * * *,payload={\"n\": 1}")
    log = p.spawn(*FUNCTION, "logs", "-f", "events")
    p.cli("compute", "queue", "send", "orders", "one", "two", "three")
    wait_until("the queue is empty", 30,
               lambda: p.json("compute", "queue", "get", "orders")["messages"] == 0)
    wait_until("both called it", 30, lambda: {"queue", "schedule"} <= {
        r["trigger"] for r in p.json(*FUNCTION, "invocations", "events")["items"]})
    equal(log.stdout.readline(), b"event\n", "as it comes")
    log.terminate()
    log.wait(20)
    words = p.json(*FUNCTION, "triggers", "events", "--remove", "2", "--yes")["items"]
    equal([word["type"] for word in words], ["queue"])
    p.cli(*FUNCTION, "delete", "events", "--yes")
    p.cli("compute", "queue", "rm", "orders", "--yes")


@case
def names_and_money_call_it(p):
    """Of what is stored under a name, and of the account's own money; a queue is told the end."""
    need_wasm()
    p.json("compute", "queue", "create", "ends")
    deploy(p, "hooks", "--code", module(p, "hook"), "--trigger", "storage:in/", "--trigger",
           "ledger:transfer", "--on-success", "queue:ends")
    words = p.cli(*FUNCTION, "triggers", "hooks").out
    check("storage:in/,events=put,events=delete" in words and "ledger:transfer" in words, words)
    file = p.home / "in.txt"
    file.write_text("in")
    p.cli("storage", "put", file, "--name", "in/a.txt")
    p.cli("storage", "put", file, "--name", "out/a.txt")
    p.cli("storage", "rm", "synor://in/a.txt", "--yes")
    p.json("account", "create", "friend")
    p.json("account", "transfer", "friend", "--amount", "0.5", "--memo", "thanks", "--yes")
    wait_until("all three were told", 30,
               lambda: p.json("compute", "queue", "get", "ends")["messages"] == 3)
    ends = [json.loads(m["body"]) for m in p.json("compute", "queue", "peek", "ends")["items"]]
    equal(sorted(end["trigger"] for end in ends), ["ledger", "storage", "storage"], ends)
    check(all(end["state"] == "succeeded" and end["result"] == "hook" for end in ends), ends)
    p.cli("compute", "queue", "purge", "ends", "--yes")


@case
def nothing_that_happened_is_lost(p):
    """kill -9 of the daemon while names are put and money moves: each name that is there and each
    transfer has called, and its end was told once."""
    need_wasm()
    cid = p.json("storage", "info", "synor://out/a.txt")["cid"]
    before = balance(p, "friend")
    stop, done = threading.Event(), [0, 0]

    def happen(which, request):
        while not stop.is_set():
            try:
                done[which] += p.http(*request())[0] in (200, 201)
            except MEANWHILE:
                pass  # it is being started again
            time.sleep(0.02)

    hands = [threading.Thread(target=happen, args=row, daemon=True) for row in (
        (0, lambda: ("PUT", f"/v1/names?name=in/{time.monotonic_ns()}", {"cid": cid})),
        (1, lambda: ("POST", "/v1/transfers", {"to": "friend", "amount": "0.001"})))]
    for hand in hands:
        hand.start()
    wait_until("both happen", 20, lambda: min(done) > 20, 0.02)
    p.kill()
    p.start()
    seen = list(done)
    wait_until("both happen again", 20, lambda: min(done) > max(seen) + 10, 0.02)
    stop.set()
    for hand in hands:
        hand.join(30)
    names = len(p.api("GET", "/v1/names?prefix=in/&limit=1000")["items"])
    transfers = round((balance(p, "friend") - before) * 1000)
    check(names >= done[0] and transfers >= done[1], names, transfers, done)
    wait_until("all were told", 40, lambda: p.json(
        "compute", "queue", "get", "ends")["messages"] >= names + transfers)
    equal(p.json("compute", "queue", "get", "ends")["messages"], names + transfers)
    p.cli(*FUNCTION, "delete", "hooks", "--yes")
    p.cli("compute", "queue", "rm", "ends", "--force", "--yes")


@case
def kills_in_the_middle(p):
    """Requests go on over kill -9 of the gateway and of the daemon: what fails is the connection,
    never the answer; afterwards all is as before, at the same address."""
    need_wasm()
    where = address_of(p, "parts")
    stop, good, wrong = threading.Event(), [], []

    def call():
        while not stop.is_set():
            try:
                status, _, body = ask(where, "GET", "/parts/", timeout=10)
            except MEANWHILE:
                time.sleep(0.01)  # it is being started again
                continue
            (good if (status, body) == (200, b"two") else wrong).append((status, body))

    hands = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for hand in hands:
        hand.start()
    wait_until("calls come", 20, lambda: len(good) > 100, 0.02)
    os.kill(gateway_pid(p), signal.SIGKILL)
    seen = len(good)
    wait_until("calls come again", 30, lambda: len(good) > seen + 200, 0.02)
    p.kill()
    p.start()
    seen = len(good)
    wait_until("calls come after the daemon", 30, lambda: len(good) > seen + 200, 0.02)
    stop.set()
    for hand in hands:
        hand.join(30)
    check(all(status == 503 for status, _ in wrong), "answers that were wrong:", wrong[:5])
    equal(address_of(p, "parts"), where)


@case
def its_bill_has_its_calls(p):
    need_wasm()
    function = p.json(*FUNCTION, "get", "parts")["id"]
    p.cli(*FUNCTION, "delete", "parts", "--yes")
    p.error(*FUNCTION, "get", "parts")
    bill = p.json("bill", "list", "--of", function)["items"][0]
    lines = {line["item"]: line for line in bill["status"]["lines"]}
    check({"function:invocations", "function:compute", "function:http"} <= set(lines), lines)
    check(int(lines["function:invocations"]["quantity"]) >= 1060, lines)
    verdict = p.json("bill", "verify", bill["id"])
    check(verdict["agrees"], verdict)
    p.cli(*FUNCTION, "delete", "spins", "--yes")
    p.cli(*FUNCTION, "delete", "hello", "--yes")


# --- programs ----------------------------------------------------------------------------------


async def burst(where, path, number):
    """So many requests at once; {(status, body): how often}."""
    async def one():
        reader, writer = await asyncio.open_connection(*where)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split(b" ", 2)[1]), body

    seen = {}
    for one_seen in await asyncio.gather(*(one() for _ in range(number))):
        seen[one_seen] = seen.get(one_seen, 0) + 1
    return seen


def need_python(p):
    need_sandbox(p)
    need_networks(p)
    if not shutil.which("python3", path="/usr/bin"):
        raise Skip("the node has no python3")


@case
def a_program_answers(p):
    need_python(p)
    code = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (code / "main.py").write_text("import nothing_of_that_name\n")
    p.broken = p.spawn(*FUNCTION, "deploy", "--name", "broken", "--runtime", "python3", "--code",
                       code, "--yes")  # takes a while, in which it is tried again
    code = p.home / "code"
    code.mkdir()
    (code / "main.py").write_text(PYTHON)
    (code / ".synorignore").write_text("# not this\n*.secret\n")
    (code / "left.secret").write_text("no")
    p.cli("secret", "set", "db-password", stdin="sesame\n")
    env = p.home / "env"
    env.write_text("COLOUR=red\n# a remark\n")
    deploy(p, "program", "--code", code, "--secret", "db-password", "--env-file", env, "--env",
           "COLOUR=blue", "--cpu", "0.9", "--concurrency", "50", "--max-instances", "2", "--idle",
           "1s", "--trigger", "http:/program/{what}", runtime="python3")
    stored = p.json(*FUNCTION, "versions", "program")["items"][0]["code_cid"]
    listed = p.json("storage", "ls", f"synor://{stored}")
    check("main.py" in json.dumps(listed) and "left.secret" not in json.dumps(listed), listed)
    where = address_of(p, "program")
    equal(ask(where, "GET", "/program/ada")[2], b"hello, ada")
    equal(json.loads(ask(where, "GET", "/program/env")[2]),
          {"colour": "blue", "secret": "sesame", "left": True, "id": True})
    equal(ask(where, "POST", "/program/bytes", bytes(range(256)),
              {"content-type": "application/octet-stream"})[2], bytes(reversed(range(256))))
    status, headers, body = ask(where, "GET", "/program/teapot")
    equal((status, headers.get("x-tea"), body), (418, "green", b"short"))
    status, _, body = ask(where, "GET", "/program/raise")
    equal((status, json.loads(body)["error"]["type"]), (500, "ValueError"))
    wait_until("the stack is in the log", 20,
               lambda: "as asked" in p.cli(*FUNCTION, "logs", "program").out)


def pool_of(p, name):
    """Folders of instances that run it."""
    own = p.json(*FUNCTION, "get", name)["id"].removeprefix("fn-")
    return [folder for folder in p.instance_folders() if own in folder]


@case
def it_wakes_for_whoever_calls(p):
    need_python(p)
    where = address_of(p, "program")
    wait_until("nothing of it runs", 60, lambda: not pool_of(p, "program"))
    seen = asyncio.run(burst(where, "/program/all", 1000))
    equal(seen, {(200, b"hello, all"): 1000})
    cold = wait_until("a cold start is on record", 20, lambda: [
        r for r in p.json(*FUNCTION, "invocations", "program")["items"] if r["way"] in ("cold", "pool")])
    check(cold[0]["stages_us"], cold[0])
    p.api("PATCH", "/v1/functions/program", {"spec": {"timeout_ms": 1500}})
    wait_until("its next version is there", 30, lambda: p.json(
        *FUNCTION, "get", "program")["status"]["active"] == 2)
    wait_until("it is called", 20, lambda: ask(where, "GET", "/program/slow")[0] == 504, 0)


@case
def it_answers_by_tls(p):
    url = next(url for url in p.json(*FUNCTION, "get", "program")["status"]["urls"]
               if url.startswith("https:"))
    authority = ssl.create_default_context(cadata=p.cli("compute", "service", "ca").out)
    where = urllib.parse.urlsplit(url)

    def called():
        try:
            with urllib.request.urlopen(f"https://{where.netloc}/program/all", timeout=20,
                                        context=authority) as answer:
                return answer.read()
        except MEANWHILE:
            return None
    equal(wait_until("there are certificates", 20, called), b"hello, all")


@case
def gpus_are_asked_for_and_priced(p):
    """No node here has any: it says so, and nothing is paid for."""
    need_python(p)
    gpus = ("--code", p.home / "code", "--secret", "db-password", "--gpu", "2", "--gpu-type", "h100")
    told = p.cli(*FUNCTION, "deploy", "--name", "cards", "--runtime", "python3", *gpus, "--plan").err
    check("8 SYNOR an hour for the GPUs of each instance that is ready" in told, told)
    deploy(p, "cards", *gpus, "--no-wait", runtime="python3")
    why = wait_until("it is told why it waits", 20, lambda: [
        row["message"] for row in p.json(*FUNCTION, "explain", "cards")["why"]
        if "h100" in row["message"]])
    check(any("GPU" in message for message in why), why)
    equal(float(p.json(*FUNCTION, "get", "cards")["status"]["cost"]["spent"]), 0.0)
    p.cli(*FUNCTION, "delete", "cards", "--yes")


@case
def it_is_ready_before_it_is_called(p):
    """By a warm-up schedule, which is paid for, and by the schedule that calls it."""
    need_python(p)
    told = p.cli(*FUNCTION, "deploy", "--name", "early", "--runtime", "python3", "--code",
                 p.home / "code", "--warmup-schedule", "@hourly,for=1h,instances=2",
                 "--plan").err
    check("Warm-up: @hourly,zone=UTC,for=1h,instances=2: next at " in told and "each time" in told,
          told)
    deploy(p, "early", "--code", p.home / "code", "--secret", "db-password", "--idle", "1s",
           "--warmup-schedule", "* * * * * *,for=1h,instances=2", runtime="python3")
    get = p.json(*FUNCTION, "get", "early")
    equal((get["status"]["prewarm"]["mode"], get["status"]["prewarm"]["paid"]), ("auto", 2), get)
    wait_until("two are ready", 30, lambda: len(pool_of(p, "early")) == 2)
    why = wait_until("it is told how they came", 20, lambda: [
        row["message"] for row in p.json(*FUNCTION, "explain", "early")["why"]
        if row["dimension"] == "start"])
    check(re.search("came (cold|pool), schedule", why[0]) and "initialise" in why[0], why)
    wait_until("they are on the bill", 30, lambda: float(
        p.json(*FUNCTION, "get", "early")["status"]["cost"]["spent"]) > 0)
    at = time.gmtime(time.time() + 17)
    p.api("PATCH", "/v1/functions/early", {"spec": {"warmup": [], "triggers": [
        {"type": "schedule", "cron": f"{at.tm_sec} {at.tm_min} {at.tm_hour} * * *",
         "payload": {"path": "/x"}}]}})
    wait_until("nothing of it runs", 30, lambda: not pool_of(p, "early"))
    wait_until("it is called by its schedule", 60, lambda: [
        r for r in p.json(*FUNCTION, "invocations", "early")["items"] if r["trigger"] == "schedule"])
    why = p.json(*FUNCTION, "explain", "early")["why"]
    check(any(row["dimension"] == "prewarm" and "(schedule)" in row["message"] for row in why), why)
    starts = wait_until("it is told how they came", 20, lambda: p.json(
        *FUNCTION, "metrics", "early")["starts"])
    starts = starts.get("pool") or starts["cold"]
    check(starts["stages"]["initialise"]["mean_us"] > 0, starts)
    took_us = sum(stage["mean_us"] for stage in starts["stages"].values())
    # It is started 10 s ahead: where that is hardly enough, nothing can be said.
    check(took_us > 8e6 or (starts["count"], starts["waited"]) == (1, 0),
          "it was there before the call", starts)
    check("INITIALISE" in p.cli(*FUNCTION, "metrics", "early").out)
    p.cli(*FUNCTION, "delete", "early", "--yes", "--no-wait")


@case
def what_fails_at_the_start_says_why(p):
    need_python(p)
    said = p.broken.communicate(timeout=60)[0].decode()
    equal(p.broken.returncode, 1, said)
    check("nothing_of_that_name" in said, said)
    check(refused(p, "broken", "--code", p.home / "code", "--handler", "other.handler",
                  runtime="python3").startswith("--handler: "))
    p.cli(*FUNCTION, "delete", "broken", "--yes", "--no-wait")
    p.cli(*FUNCTION, "delete", "program", "--yes")
    wait_until("both are gone", 30, lambda: not {"broken", "program"} & {
        function["name"] for function in p.json(*FUNCTION, "list")["items"]})


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{port}", "--function-tls-listen", "127.0.0.1:0"))
