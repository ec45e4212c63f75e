#!/usr/bin/env python3
"""Functions and the outside: requests that are signed, calls whose end is told by HTTP, tokens."""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import pathlib
import tempfile
import threading
import time
import urllib.parse

from harness import Platform, Skip, case, check, equal, run, wait_until

FUNCTION = ("compute", "function")
WASMTIME = ("/usr/local/lib/synor/libwasmtime.so.48", "/usr/lib/synor/libwasmtime.so.48")
SAYS = """(module
  (import "synor" "response_write" (func $write (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "%s")
  (func (export "synor_handle") (result i32) (call $write (i32.const 0) (i32.const %d)) (i32.const 0)))
"""


def need_wasm():
    if not any(pathlib.Path(path).exists() for path in WASMTIME):
        raise Skip("Wasmtime is not installed: scripts/wasmtime")


def module(p, text):
    file = pathlib.Path(tempfile.mkdtemp(dir=p.home)) / "module.wat"
    file.write_text(SAYS % (text, len(text)))
    return file


def deploy(p, name, *options, code=0):
    return p.json(*FUNCTION, "deploy", "--name", name, "--runtime", "wasm", "--code",
                  module(p, name), *options, "--yes", code=code)


def refused(p, name, *options, code=2):
    return deploy(p, name, *options, code=code)["message"]


def ask(p, name, path, body=None, headers=None):
    """(status, text) of one request to the function."""
    url = urllib.parse.urlsplit(p.json(*FUNCTION, "get", name)["status"]["urls"][0])
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def signed(secret, body):
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()}


@case
def requests_are_signed(p):
    need_wasm()
    p.start()
    said = refused(p, "hub", "--trigger", "http:POST:/hub,hmac=hub", code=1)
    check(said.startswith("--trigger: ") and "synor secret set" in said, said)
    p.cli("secret", "set", "hub", stdin="first")
    p.cli("secret", "set", "stripe", stdin="whsec_x")
    deploy(p, "hub", "--trigger", "http:POST:/hub,hmac=hub", "--trigger",
           "http:POST:/stripe,hmac=stripe,hmac-scheme=stripe")
    check("first" not in p.cli(*FUNCTION, "get", "hub", "--json").out)
    check(",hmac=hub" in p.cli(*FUNCTION, "triggers", "hub").out)
    body = b'{"action": "opened"}'
    equal(ask(p, "hub", "/hub", body, signed(b"first", body)), (200, "hub"))
    equal(ask(p, "hub", "/hub", body + b" ", signed(b"first", body))[0], 401)
    status, said = ask(p, "hub", "/hub", body)
    check(status == 401 and "x-hub-signature-256" in said, status, said)
    for age, want in ((0, 200), (400, 401)):
        at = str(int(time.time()) - age).encode()
        mac = hmac.new(b"whsec_x", at + b"." + body, hashlib.sha256).hexdigest()
        equal(ask(p, "hub", "/stripe", body, {"stripe-signature": f"t={at.decode()},v1={mac}"})[0],
              want)
    # A secret that is used stays; another one counts at once.
    check("hub uses the secret" in p.error("secret", "rm", "hub", "--yes")["message"])
    p.cli("secret", "set", "hub", stdin="second")
    wait_until("the second secret counts", 10, lambda: ask(
        p, "hub", "/hub", body, signed(b"second", body))[0] == 200)
    equal(ask(p, "hub", "/hub", body, signed(b"first", body))[0], 401)


if __name__ == "__main__":
    run(Platform())
