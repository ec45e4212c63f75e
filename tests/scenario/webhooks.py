#!/usr/bin/env python3
"""Functions and the outside: requests that are signed, calls whose end is told by HTTP, tokens."""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import pathlib
import shutil
import subprocess
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
    said = p.json(*FUNCTION, "deploy", "--name", name, "--runtime", "wasm", "--code",
                  module(p, name), *options, "--yes", code=code)
    for before, option in zip(options, options[1:]):
        if before == "--trigger" and code == 0:  # the gateway hears of it a moment later
            path = option.split(",")[0].split(":")[-1]
            wait_until(f"{path} is served", 20, lambda at=path: ask(p, name, at)[0] != 404)
    return said


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


class Receiver(http.server.ThreadingHTTPServer):
    """Of webhooks: answers with the statuses that it is given, then with 200; None: not at all."""

    daemon_threads = True

    def __init__(self):
        self.got, self.answers, self.held = [], [], threading.Event()
        super().__init__(("127.0.0.1", 0), Receiving)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Receiving(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.server.got.append((self.path, dict(self.headers), body))
        if status is None:
            self.server.held.wait(30)
            return
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


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


def call(p, name):
    return p.json(*FUNCTION, "invoke", name, "--async", "--data", "1")["invocation"]


def record(p, name, invocation):
    return p.json(*FUNCTION, "invocations", name, invocation)


def genuine(secret, headers, body):
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == "v1," + mac


@case
def ends_are_told(p):
    need_wasm()
    p.receiver = receiver = Receiver()
    done = receiver.url("/done")
    said = refused(p, "teller", "--on-success", done, "--destination-secret", "tell", code=1)
    check(said.startswith("--destination-secret: ") and "synor secret set" in said, said)
    p.cli("secret", "set", "tell", stdin="whsec_" + base64.b64encode(b"sesame").decode())
    check(refused(p, "teller", "--on-success", "ftp://x", ).startswith("--on-success: "))
    deploy(p, "teller", "--on-success", done, "--destination-secret", "tell")
    check("sesame" not in json.dumps(p.json(*FUNCTION, "get", "teller")))
    # What it refuses at first it gets again, the same under the same id.
    receiver.answers = [500]
    one = call(p, "teller")
    wait_until("it was told", 20, lambda: record(p, "teller", one).get(
        "destination_state") == "told")
    seen = record(p, "teller", one)
    equal((seen["destination"], seen["destination_attempts"], seen["destination_status"],
           seen.get("destination_error")), (done, 2, 200, None))
    equal([(path, headers["webhook-id"]) for path, headers, _ in receiver.got], [("/done", one)] * 2)
    for _, headers, body in receiver.got:
        check(genuine(b"sesame", headers, body), headers)
        equal({"invocation": one, "name": "teller", "state": "succeeded", "result": "teller"},
              {key: json.loads(body)[key] for key in ("invocation", "name", "state", "result")})


@case
def nothing_is_lost_when_it_is_killed(p):
    need_wasm()
    receiver = p.receiver
    receiver.got.clear()
    receiver.answers = [None]
    one = call(p, "teller")
    wait_until("it is being told", 20, lambda: receiver.got)
    equal(record(p, "teller", one)["destination_state"], "waiting")
    p.kill()
    p.start()
    wait_until("it was told", 20, lambda: record(p, "teller", one).get(
        "destination_state") == "told")
    equal([headers["webhook-id"] for _, headers, _ in receiver.got], [one] * 2)
    receiver.held.set()


@case
def what_is_given_up_is_on_record(p):
    need_wasm()
    receiver = p.receiver
    receiver.got.clear()
    receiver.answers = [302, 410]
    for status in (302, 410):
        one = call(p, "teller")
        wait_until("it was given up", 20, lambda: record(p, "teller", one).get(
            "destination_state") == "given-up")
        check(str(status) in record(p, "teller", one)["destination_error"])
    equal(len(receiver.got), 2)
    deploy(p, "teller", "--on-success", "https://169.254.169.254/latest")
    one = call(p, "teller")
    wait_until("it was given up", 20, lambda: record(p, "teller", one).get(
        "destination_state") == "given-up")
    check("does not call" in record(p, "teller", one)["destination_error"])
    receiver.shutdown()


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def digits(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def issue(p, key, header, claims):
    """A token as somebody else makes it, by OpenSSL."""
    text = ".".join(digits(json.dumps(part).encode()) for part in (header, claims))
    file = p.home / "signed"
    file.write_text(text)
    made = subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", file],
                          capture_output=True, check=True).stdout
    return text + "." + digits(made)


@case
def tokens_let_in(p):
    need_wasm()
    token = (*FUNCTION, "token")
    deploy(p, "shut", "--trigger", "http:/shut,auth=token")
    check("token-missing" in ask(p, "shut", "/shut")[1])
    mine = p.json(*token, "create", "--function", "shut", "--subject", "ada", "--ttl", "1h")
    wait_until("it opens", 10, lambda: ask(p, "shut", "/shut", headers=bearer(
        mine["token"]))[0] == 200)
    equal(ask(p, "shut", "/shut", headers=bearer(mine["token"][:-4] + "AAAA"))[0], 401)
    check("there is no function" in p.error(*token, "create", "--function", "nope")["message"])
    other = p.cli(*token, "create").out.strip()
    equal(ask(p, "shut", "/shut", headers=bearer(other))[0], 200)
    deploy(p, "shut-2", "--trigger", "http:/shut-2,auth=token")
    equal(ask(p, "shut-2", "/shut-2", headers=bearer(other))[0], 200)
    status, said = ask(p, "shut-2", "/shut-2", headers=bearer(mine["token"]))
    check(status == 401 and "token-audience" in said, status, said)
    # With another key, none of them opens anything.
    equal(p.json(*token, "keys")["keys"][0]["kid"], mine["key_id"])
    p.cli(*token, "rotate", "--yes")
    wait_until("they open no more", 10, lambda: ask(p, "shut", "/shut", headers=bearer(
        other))[0] == 401)
    new = p.cli(*token, "create").out.strip()
    wait_until("a new one does", 10, lambda: ask(p, "shut", "/shut", headers=bearer(
        new))[0] == 200)


@case
def tokens_of_others_let_in(p):
    need_wasm()
    if not shutil.which("openssl"):
        raise Skip("needs openssl")
    key, public = p.home / "issuer.pem", p.home / "issuer.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    issuer = (*FUNCTION, "token", "issuer")
    check("BEGIN PRIVATE" in key.read_text() and p.error(
        *issuer, "add", "ours", "--issuer", "https://id.example", "--keys", key,
        code=2)["message"].startswith("--keys: "))
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    p.json(*issuer, "add", "ours", "--issuer", "https://id.example", "--keys", public,
           "--audience", "api")
    equal([one["issuer"] for one in p.json(*issuer, "list")["items"]], ["https://id.example"])
    claims = {"iss": "https://id.example", "aud": "api", "sub": "bob", "exp": time.time() + 3600}
    good = issue(p, key, {"alg": "EdDSA"}, claims)
    wait_until("it opens", 10, lambda: ask(p, "shut", "/shut", headers=bearer(good))[0] == 200)
    for header, changed, code in (({"alg": "none"}, {}, "token-algorithm"),
                                  ({"alg": "HS256"}, {}, "token-algorithm"),
                                  ({"alg": "EdDSA"}, {"exp": time.time() - 1}, "token-expired"),
                                  ({"alg": "EdDSA"}, {"nbf": time.time() + 90}, "token-early"),
                                  ({"alg": "EdDSA"}, {"aud": "other"}, "token-audience"),
                                  ({"alg": "EdDSA"}, {"iss": "synor"}, "token-signature")):
        status, said = ask(p, "shut", "/shut", headers=bearer(
            issue(p, key, header, {**claims, **changed})))
        check(status == 401 and code in said, header, changed, status, said)
    p.cli(*issuer, "rm", "ours", "--yes")
    wait_until("it opens no more", 10, lambda: ask(p, "shut", "/shut", headers=bearer(
        good))[0] == 401)


if __name__ == "__main__":
    run(Platform("--webhook-private"))
