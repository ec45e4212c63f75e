#!/usr/bin/env python3
"""Published addresses from outside: steady load through updates, scaling, and what dies.

With SYNOR_FULL=1 at length: 20 updates, 100,000 requests, 5 replicas killed.
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from harness import (SOURCE, Platform, Skip, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)
from load import Load

EXAMPLE = SOURCE / "examples/hello-service"
CLIENTS = 4
FULL = os.environ.get("SYNOR_FULL") == "1"
SERVICE = ["--image", "synor://images/hello", "--port", 8080, "--health-check", "/health",
           "--health-interval", "200ms", "--health-timeout", "5s", "--cpu", "0.1", "--memory",
           "64mb", "--scratch", "16mb", "--stop-grace", "5s", "--isolation", "runc", "--yes"]


def ports(count):
    """So many ports of the loopback in a row that nobody has, below those given to clients."""
    for first in range(20000 + os.getpid() % 400 * 20, 32000, count):
        taken = []
        for port in range(first, first + count):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    taken.append(port)
        if not taken:
            return first
    raise Skip("no free ports")


FIRST = ports(30)
HTTP, HTTPS = FIRST, FIRST + 1
ACME, ACME_ROOTS, ACME_TLS, NAMES, NAMES_CONTROL = range(FIRST + 20, FIRST + 25)
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin"
DIRECTORY = all(shutil.which(name, path=SYSTEM_PATH) for name in
                ("lego", "pebble", "pebble-challtestsrv", "openssl"))


def service(p, name="web"):
    return p.json("compute", "service", "get", name)


def address(p, name="web"):
    host, port = service(p, name)["status"]["address"].rsplit(":", 1)
    return host, int(port)


def ready(p, name="web"):
    return [e for e in service(p, name)["status"]["endpoints"] if e["ready"]]


def get(where, path="/", headers=None, tls=None):
    if tls is None:
        connection = http.client.HTTPConnection(*where, timeout=90)
    else:
        connection = http.client.HTTPSConnection(*where, timeout=20, context=tls)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def answers(where, status=200, **more):
    """Wait until it does."""
    def look():
        try:
            seen = get(where, **more)
        except OSError:
            return None
        return seen if seen[0] == status else None
    return wait_until(f"{where} answers {status}", 60, look, 0.05)


def need(p):
    if not getattr(p, "deployed", False):
        raise Skip("no service was deployed")


def haproxy(p):
    """The process that serves; 0: none."""
    try:
        words = (p.home / "server/gateway/running").read_text().split()
    except OSError:
        return 0
    return int(words[0]) if words else 0


def deploy(p, name, *options, code=0):
    return p.json("compute", "service", "deploy", "--name", name, *SERVICE, *options, code=code)


@case
def it_is_deployed_and_published(p):
    if shutil.which("cc") is None:
        raise Skip("needs a C compiler")
    if shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        raise Skip("needs HAProxy")
    p.start()
    if "runc" not in need_sandbox(p):
        raise Skip("needs runc")
    layout = p.home / "layout"
    built = subprocess.run([sys.executable, EXAMPLE / "build-image", layout], capture_output=True,
                           text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", layout, "--name", "images/hello")
    need_networks(p)
    said = deploy(p, "web", "--replicas", 2, "--drain", "30s")
    where = said["status"]["address"]
    check(where.startswith("127.0.0.1:") and
          FIRST + 2 <= int(where.split(":")[1]) < FIRST + 20, where)
    wait_until("it has come up", 90, lambda: service(p)["status"]["state"] == "running")
    p.deployed = True
    answers(address(p))
    equal(service(p)["status"]["address"], where, "the address lasts")
    instances = set()
    for _ in range(8):
        status, text, _ = get(address(p))
        equal(status, 200)
        instances.add(text)
    equal(len(instances), 2, "both replicas are asked", instances)
    shown = p.cli("compute", "service", "get", "web").out
    check(where in shown and "requests" in shown, shown)
    stats = p.json("compute", "service", "stats", "web")
    check(stats["answers"]["2xx"] >= 8 and stats["errors"] == 0 and stats["replicas_up"] == 2,
          stats)
    metrics = p.http("GET", "/metrics")[2].decode()
    check('synor_balancer_requests_total{service="' in metrics, metrics[-2000:])


@case
def no_request_is_lost_in_updates_and_scaling(p):
    need(p)
    where = address(p)
    with Load(*where, clients=CLIENTS) as load:
        load.goes_on()
        for greeting in ("servus", "moin", "gruezi", *(f"hi-{n}" for n in range(17 * FULL))):
            load.lost(f"update to {greeting}", lambda word=greeting: p.json(
                "compute", "service", "update", "web", "--env", f"GREETING={word}", "--yes",
                "--wait"))
            equal(address(p), where, "the address lasts")
        for count in (3, 1, 2):
            load.lost(f"scale to {count}", lambda n=count: p.json(
                "compute", "service", "scale", "web", "--replicas", n, "--yes", "--wait"))
        while FULL and load.count()[0] < 100000:
            load.lost("restart", lambda: p.json("compute", "service", "restart", "web", "--yes",
                                                "--wait"))
    check(any(text.startswith("gruezi") for text in load.answers), load.answers.keys())


def versions(where, requests):
    """Whose answers they were: {version: so many}."""
    seen = {}
    for _ in range(requests):
        _, text, _ = get(where)
        version = text.split("of version ")[1].split(" ")[0]
        seen[version] = seen.get(version, 0) + 1
    return seen


def stage(p, name, word):
    return wait_until(f"{name} is {word}", 60, lambda: next((s for s in [
        service(p, name)["status"]] if s.get("rollout", {}).get("stage") == word), None), 0.05)


def weighted(p, name):
    """Its replicas that take traffic, and by which weights."""
    return sorted((e["version"], e.get("weight")) for e in ready(p, name))


def applied(p, greeting):
    """Have a file say how "tried" is to be; what would change, by its path."""
    spec = dict(zip(SERVICE[::2], SERVICE[1::2]))
    file = p.home / "tried.yaml"
    file.write_text(f"""
kind: service
name: tried
spec:
  image: {spec["--image"]}
  port: {spec["--port"]}
  cpu_millicores: 50
  memory_bytes: 64mb
  scratch_bytes: 16mb
  drain_ms: 500
  isolation: runc
  replicas: 2
  health: {{kind: http, path: /health, interval_ms: 200, timeout_ms: 5000}}
  env: {{GREETING: {greeting}}}
  rollout: {{strategy: canary, promote: manual}}
""")
    said = p.json("compute", "apply", "-f", file, "--yes", "--wait")
    return {change["path"]: change["to"] for change in said["items"][0]["changes"]}


@case
def a_canary_has_its_part_and_takes_over(p):
    need(p)
    check("rollout" in str(applied(p, "one")), "a file says how it is rolled out")
    where = address(p, "tried")
    answers(where)
    equal(applied(p, "two"), {"env.GREETING": "two"})  # waited for until somebody is asked
    said = p.json("compute", "service", "get", "tried")
    equal(said["status"]["reason"], "waiting")
    equal((said["status"]["rollout"]["percent"], said["status"]["rollout"]["from"]), (10, 1))
    equal(weighted(p, "tried"), [(1, 9), (1, 9), (2, 2)], "2 of 20 are the new one's")
    wait_until("the balancer knows", 30, lambda: "2" in versions(where, 20))
    seen = versions(where, 200)
    check(16 <= seen["2"] <= 24, "10 % of the requests", seen)
    shown = p.cli("compute", "service", "get", "tried").out
    check("10.0% of what comes" in shown and "it waits to be promoted" in shown, shown)
    check(any("promote tried" in fix for fix in
              p.json("compute", "service", "explain", "tried")["fix"]), "explain says what to do")
    p.kill()  # the server may die in the middle of it
    p.start()
    equal(stage(p, "tried", "testing")["rollout"]["percent"], 10)
    with Load(*where, clients=CLIENTS) as load:
        load.goes_on()
        load.lost("the canary takes over", lambda: p.json(
            "compute", "service", "promote", "tried", "--yes", "--wait"))
    equal(set(versions(where, 10)), {"2"})
    p.error("compute", "service", "promote", "tried", "--yes")
    # Killed while one version takes over from the other it goes on where it was.
    applied(p, "three")
    p.json("compute", "service", "promote", "tried", "--yes")
    p.kill()
    p.start()
    p.json("compute", "service", "get", "tried", "--wait")
    answers(where)
    wait_until("both are of version 3", 60, lambda: weighted(p, "tried") == [(3, None), (3, None)], 0.1)
    wait_until("all answers are", 60, lambda: set(versions(where, 10)) == {"3"}, 0.1)


@case
def a_bad_canary_goes_by_itself(p):
    need(p)
    where = address(p, "tried")
    p.json("compute", "service", "update", "tried", "--promote", "auto", "--canary-weight",
           "30%,60%", "--env", "ANSWER=500 no", "--yes")

    def back():
        get(where)
        return service(p, "tried")["status"]["rolled_back"] == 4
    stage(p, "tried", "testing")
    wait_until("it is rolled back", 60, back, 0.02)
    p.kill()  # on its way back
    p.start()
    p.json("compute", "service", "get", "tried", "--wait", code=1)
    status = service(p, "tried")["status"]
    check("with errors" in status["rolled_back_why"], status["rolled_back_why"])
    wait_until("both are of version 3", 60, lambda: weighted(p, "tried") == [(3, None), (3, None)], 0.1)
    answers(where)
    wait_until("all answers are", 60, lambda: set(versions(where, 10)) == {"3"}, 0.1)


@case
def blue_green_switches_at_once(p):
    need(p)
    where = address(p, "tried")
    with Load(*where, clients=CLIENTS) as load:
        load.goes_on()
        load.lost("the switch", lambda: p.json(
            "compute", "service", "update", "tried", "--strategy", "blue-green", "--env",
            "GREETING=green", "--yes", "--wait"))
        kept = stage(p, "tried", "kept")
        equal(sorted(e["state"] for e in kept["endpoints"] if not e["ready"]), ["standby"] * 2)
        wait_until("all is green", 30, lambda: set(versions(where, 10)) == {"5"})
        load.lost("the way back", lambda: p.json(
            "compute", "service", "rollback", "tried", "--yes", "--wait"))
        wait_until("nothing is green", 30, lambda: set(versions(where, 10)) == {"3"})
    history = p.cli("compute", "service", "history", "tried").out
    check("kept" in history, history)
    p.json("compute", "service", "promote", "tried", "--yes")
    wait_until("the green ones are let go", 60, lambda: "rollout" not in service(
        p, "tried")["status"])
    p.json("compute", "service", "stop", "tried", "--yes", "--wait")
    p.json("compute", "service", "delete", "tried", "--yes")


@case
def a_request_that_takes_long_is_ended_first(p):
    """What a replica has is finished before it is stopped, also over a longer connection."""
    need(p)
    old = {e["instance"] for e in ready(p)}
    equal(len(old), 2)

    def waits():
        """The one that is left of the old replicas, once it drains: the other has nothing to wait for."""
        left = [e for e in service(p)["status"]["endpoints"] if e["instance"] in old]
        check(left, "a replica that has a request is not waited for")
        return left[0]["instance"] if [e["state"] for e in left] == ["draining"] else None
    with socket.create_connection(address(p), timeout=60) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        wait_until("the balancer has it", 30, lambda: p.json(
            "compute", "service", "stats", "web")["open"] >= 1)
        p.json("compute", "service", "restart", "web", "--yes")
        mine = wait_until("one of the old replicas is left", 60, waits)
        slow.sendall(b"cd")
        seen = b""
        while not seen.endswith(b")\n") and (more := slow.recv(4096)):
            seen += more
        check(seen.startswith(b"HTTP/1.1 200") and f"({mine})".encode() in seen, mine, seen)
    p.json("compute", "service", "get", "web", "--wait")


def program_of(instance):
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if (entry.name.isdigit() and
                    f"SYNOR_INSTANCE_ID={instance}".encode() in (entry / "environ").read_bytes()
                    and (entry / "cmdline").read_bytes().startswith(b"/hello")):
                return int(entry.name)
        except OSError:
            continue
    return None


@case
def what_dies_costs_what_it_had(p):
    need(p)
    where = address(p)

    def kill_replica():
        victim = ready(p)[0]["instance"]
        os.kill(program_of(victim), signal.SIGKILL)
        wait_until("another takes its place", 60, lambda: len(ready(p)) == 2 and
                   victim not in {e["instance"] for e in ready(p)})

    def kill_all():
        victims = {e["instance"] for e in ready(p)}
        for pid in [program_of(victim) for victim in victims]:
            os.kill(pid, signal.SIGKILL)
        wait_until("others take their place", 60, lambda: len(ready(p)) == 2 and
                   not victims & {e["instance"] for e in ready(p)})

    def kill_balancer():
        before = haproxy(p)
        os.kill(before, signal.SIGKILL)
        wait_until("another serves", 60, lambda: haproxy(p) not in (0, before), 0.01)

    def kill_daemon():
        p.kill()
        load.goes_on()
        p.start()
        wait_until("the replicas are known again", 60, lambda: len(ready(p)) == 2)

    with Load(*where, clients=CLIENTS) as load:
        load.goes_on()
        for _ in range(5 if FULL else 1):
            load.lost("a replica is killed", kill_replica, at_most=CLIENTS)
        # Who comes while nobody is there waits.
        load.lost("all replicas are killed", kill_all, at_most=2 * CLIENTS)
        # What it had, and what came to it while it was dying. Who comes then waits for the next.
        load.lost("HAProxy is killed", kill_balancer, at_most=2 * CLIENTS)
        load.lost("the daemon is killed", kill_daemon)
        equal(address(p), where, "the address lasts")
        load.lost("an update after that", lambda: p.json(
            "compute", "service", "update", "web", "--env", "GREETING=hej", "--yes", "--wait"))


@case
def requests_wait_for_a_service_at_zero(p):
    need(p)
    where = tuple(deploy(p, "sleeper", "--replicas", 0, "--autoscale", "0-1", "--autoscale-metric",
                         "inflight=100", "--hold", "60s")["status"]["address"].rsplit(":", 1))
    answers(where, status=200)  # so the door is open; and it falls asleep again
    p.api("PATCH", f"/v1/services/{service(p, 'sleeper')['id']}", {"spec": {
        "autoscale": {"min": 0, "max": 1, "every_ms": 1000, "average_ms": 0, "idle_ms": 1000,
                      "metrics": [{"metric": "inflight", "target": "100"}],
                      "down": {"stabilise_ms": 0}}}})
    wait_until("it sleeps", 60, lambda: not service(p, "sleeper")["status"]["endpoints"])
    seen, began = [], time.monotonic()
    clients = [threading.Thread(target=lambda: seen.append(get(where)[0])) for _ in range(50)]
    for client in clients:
        client.start()
    deploy(p, "beside", "--replicas", 0)  # a new address is a new process of HAProxy
    p.kill()  # who waits goes on waiting, and is led to the replica by who comes back
    p.start()
    for client in clients:
        client.join()
    print(f"# 50 requests woke it in {time.monotonic() - began:.1f} s", flush=True)
    equal(seen, [200] * 50, "all are answered")
    check(any(e["type"] == "scaled" and "wait" in e["message"] for e in
              p.json("compute", "service", "events", "sleeper")["items"]), "it is said why")
    for name in ("sleeper", "beside"):
        p.json("compute", "service", "stop", name, "--yes", "--wait")
        p.json("compute", "service", "delete", name, "--yes")


@case
def services_share_a_front(p):
    need(p)
    p.json("compute", "service", "update", "web", "--host", "a.example", "--yes")
    deploy(p, "api", "--replicas", 1, "--host", "a.example", "--path", "/api", "--env",
           "GREETING=api", "--wait")
    said = p.error("compute", "service", "deploy", "--name", "thief", *SERVICE, "--host",
                   "a.example", "--path", "/api/")
    check("a.example/api belongs to the service api" in said["message"], said)
    p.error("compute", "service", "get", "thief")
    for path, word in (("/", "hej"), ("/api/x", "api"), ("/apix", "hej")):
        wait_until(f"{path} is {word}'s", 30, lambda at=path, is_=word: answers(
            ("127.0.0.1", HTTP), path=at, headers={"Host": "a.example"})[1].startswith(is_))
    equal(answers(("127.0.0.1", HTTP), status=404, headers={"Host": "b.example"})[0], 404)
    check("a.example/api" in p.cli("compute", "service", "get", "api").out, "its place is shown")


@case
def tls_ends_at_the_balancer(p):
    need(p)
    deploy(p, "api", "--replicas", 1, "--host", "api.example", "--env", "GREETING=api", "--tls",
           "--redirect-http", "--sticky", "--lb", "least-connections", "--wait")
    authority = p.home / "ca.pem"
    authority.write_text(p.cli("compute", "service", "ca").out)
    trust = ssl.create_default_context(cafile=str(authority))
    seen = answers(address(p, "api"), tls=trust)
    check(seen[1].startswith("api") and "synor-replica=" in seen[2].get("set-cookie", ""), seen)
    moved = answers(("127.0.0.1", HTTP), status=308, path="/x?y", headers={"Host": "api.example"})
    equal(moved[2]["location"], f"https://api.example:{HTTPS}/x?y")
    with socket.create_connection(("127.0.0.1", HTTPS), timeout=20) as plain:
        with trust.wrap_socket(plain, server_hostname="api.example") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n")
            check(tls.recv(100).startswith(b"HTTP/1.1 200"), "the shared front speaks TLS")


def make_certificate(p, host, word):
    """A certificate of another authority than the platform's: itself."""
    cert, key = p.home / f"{word}.pem", p.home / f"{word}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9", "-subj", f"/O={word}",
                    "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


class Directory:
    """An ACME directory (pebble) and the names that it asks for; its certificates live for 3 s."""

    def __init__(self, home):
        self.home, self.children = home, []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9", "-subj",
                        "/CN=directory", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                        home / "key.pem", "-out", home / "cert.pem"],
                       check=True, capture_output=True)
        (home / "pebble.json").write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{ACME}", "managementListenAddress":
            f"127.0.0.1:{ACME_ROOTS}", "certificate": str(home / "cert.pem"),
            "privateKey": str(home / "key.pem"), "httpPort": HTTP, "tlsPort": ACME_TLS,
            "ocspResponderURL": "", "externalAccountBindingRequired": False,
            "certificateValidityPeriod": 4,
            "domainBlocklist": ["refused.example"]}}))
        self.spawn("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01",
                   f"127.0.0.1:{NAMES}", "-http01", "", "-https01", "", "-tlsalpn01", "",
                   "-management", f"127.0.0.1:{NAMES_CONTROL}")
        self.spawn("pebble", "-config", home / "pebble.json", "-dnsserver", f"127.0.0.1:{NAMES}")
        wait_until("the directory answers", 60, self.root)

    def spawn(self, program, *args):
        with open(self.home / f"{program}.log", "wb") as log:
            self.children.append(subprocess.Popen(
                [shutil.which(program, path=SYSTEM_PATH), *map(str, args)], stdout=log, stderr=log,
                env={"PEBBLE_VA_NOSLEEP": "1"}))

    def root(self):
        """Its root certificate, PEM; None: it does not answer yet."""
        try:
            return get(("127.0.0.1", ACME_ROOTS), "/roots/0",
                       tls=ssl._create_unverified_context())[1]
        except OSError:
            return None

    def end(self):
        for child in self.children:
            child.kill()
            child.wait()


def issuer(where, host):
    with socket.create_connection(where, timeout=20) as plain:
        with ssl._create_unverified_context().wrap_socket(plain, server_hostname=host) as tls:
            return tls.getpeercert(binary_form=True)


@case
def a_given_certificate(p):
    need(p)
    if shutil.which("openssl") is None:
        raise Skip("needs openssl")
    cert, key = make_certificate(p, "shop.example", "first")
    said = p.error("compute", "service", "update", "api", "--tls-cert", "shop", "--yes")
    check("no certificate shop" in said["message"], said)
    other = make_certificate(p, "shop.example", "other")
    said = p.error("compute", "certificate", "add", "shop", "--cert", cert, "--key", other[1],
                   code=2)
    check("key" in said["message"], said)
    seen = p.json("compute", "certificate", "add", "shop", "--cert", cert, "--key", key)
    equal([seen["hosts"], seen["state"], seen["version"]], [["shop.example"], "ends-soon", 1])
    p.json("compute", "service", "update", "api", "--tls-cert", "shop", "--host", "shop.example",
           "--yes")
    front, pid = ("127.0.0.1", HTTPS), haproxy(p)
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    wait_until("it is served", 60, lambda: issuer(front, "shop.example") == der, 0.05)
    pid = haproxy(p)
    with socket.create_connection(front, timeout=60) as plain:
        context = ssl._create_unverified_context()
        with context.wrap_socket(plain, server_hostname="shop.example") as kept:
            p.json("compute", "certificate", "add", "shop", "--cert", other[0], "--key", other[1])
            der = ssl.PEM_cert_to_DER_cert(other[0].read_text())
            wait_until("the new one is served", 60,
                       lambda: issuer(front, "shop.example") == der, 0.05)
            kept.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
            check(kept.recv(100).startswith(b"HTTP/1.1 200"), "what was open goes on")
    equal(haproxy(p), pid, "without a reload")
    said = p.error("compute", "certificate", "rm", "shop", "--yes")
    check("api" in said["message"], said)
    listed = p.json("compute", "certificate", "list")["items"][0]
    equal([listed["services"], listed["version"]], [["api"], 2])
    check(b"BEGIN" not in p.http("GET", "/v1/certificates/shop")[2], "no key is shown")
    check('synor_certificate_left_seconds{certificate="' in p.http("GET", "/metrics")[2].decode(),
          "it is measured")
    check(any(e["type"] == "certificate-ends" for e in
              p.json("compute", "service", "events", "api")["items"]), "it is warned of")
    check("event=gateway.certificates" not in p.log.read_text(errors="replace"),
          "one that nobody uses keeps others from being warned:", p.log_tail())
    p.json("compute", "service", "update", "api", "--tls-cert", "", "--host", "api.example",
           "--yes")
    p.json("compute", "certificate", "rm", "shop", "--yes")


@case
def a_certificate_of_a_directory(p):
    need(p)
    if not DIRECTORY:
        raise Skip("needs lego, pebble and openssl")
    said = p.error("compute", "service", "update", "api", "--tls-cert", "acme", "--host",
                   "*.example", "--yes", code=2)
    check("wildcard" in said["message"] and "--tls-cert" in said["message"], said)
    # What the directory says against it is told, and the platform's own certificate serves.
    p.json("compute", "service", "update", "api", "--tls-cert", "acme", "--host", "refused.example",
           "--yes")

    def certificate(name):
        return next((c for c in p.json("compute", "certificate", "list")["items"]
                     if c["name"] == name), {"failures": 0, "version": 0})
    failed = wait_until("it fails", 120, lambda: next(
        (c for c in [certificate("refused.example")] if c["failures"] > 0), None))
    equal([failed["source"], failed["state"], failed["version"]], ["acme", "failed", 0])
    check("rejectedIdentifier" in failed["message"] and failed["renews"], failed)
    why = p.json("compute", "service", "explain", "api")["why"]
    check(any(row["dimension"] == "certificate" and "rejectedIdentifier" in row["message"]
              for row in why), why)
    check(any(e["type"] == "certificate-failed" for e in
              p.json("compute", "service", "events", "api")["items"]), "it is in the events")
    answers(("127.0.0.1", HTTPS), headers={"Host": "refused.example"},
            tls=ssl._create_unverified_context())
    p.json("compute", "certificate", "renew", "refused.example")
    wait_until("it is tried at once", 120, lambda: certificate("refused.example")["failures"] > 1)
    # It asks for a challenge of this one, is answered, and gives a certificate.
    p.json("compute", "service", "update", "api", "--host", "acme.example", "--yes")
    context = ssl.create_default_context(cadata=p.directory.root())

    def serves():
        try:
            with socket.create_connection(("127.0.0.1", HTTPS), timeout=20) as plain:
                with context.wrap_socket(plain, server_hostname="acme.example") as tls:
                    return tls.getpeercert(binary_form=True)
        except ssl.SSLError:
            return None
    first = wait_until("the directory's certificate is served", 120, serves, 0.05)
    pid = haproxy(p)
    wait_until("it renews itself", 120, lambda: serves() not in (None, first), 0.2)
    check(certificate("acme.example")["version"] > 1 and haproxy(p) == pid, "without a reload")
    shown = p.cli("compute", "certificate", "get", "acme.example").out
    check("renews" in shown and "used by     api" in shown, shown)
    # But while it has ended: it lives for seconds, and a busy machine is late.
    wait_until("there is nothing to explain", 60, lambda: not any(
        row["dimension"] == "certificate" for row in
        p.json("compute", "service", "explain", "api")["why"]), 0.2)
    check(not any(b"PRIVATE KEY" in f.read_bytes() for f in (p.home / "server").glob("*.db*")),
          "keys are sealed")
    p.json("compute", "service", "update", "api", "--tls-cert", "", "--host", "api.example",
           "--yes")
    for name in ("refused.example", "acme.example"):
        p.cli("compute", "certificate", "rm", name, "--yes")


@case
def a_port_that_another_has(p):
    need(p)
    for options, word in ((["--protocol", "tcp", "--sticky"], "cookie"),
                          (["--host", "A B"], "host"), (["--redirect-http"], "tls")):
        said = p.error("compute", "service", "deploy", "--name", "bad", *SERVICE, *options, code=2)
        check(word in said["message"], said)
    # The program's port changes: the address does not.
    where = address(p)
    p.json("compute", "service", "update", "web", "--port", 8081, "--yes", "--wait")
    equal(address(p), where, "the address lasts")
    equal({e["port"] for e in ready(p)}, {8081})
    answers(where)
    p.json("compute", "service", "scale", "web", "--replicas", 0, "--yes", "--wait")
    equal(answers(where, status=503)[0], 503, "nobody is there")
    # While the platform is down somebody takes the address: that is said, and it comes back.
    p.stop()
    os.kill(haproxy(p), signal.SIGKILL)
    wait_until("it lets go", 30, lambda: free(where))
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(where)
        thief.listen()
        p.start()
        wait_until("it is told", 60, lambda: service(p)["status"]["gateway"]["state"] == "failed")
        why = p.json("compute", "service", "explain", "web")["why"]
        check(any(f"{where[1]}" in row["message"] and row["dimension"] == "gateway"
                  for row in why), why)
        answers(address(p, "api"), tls=ssl._create_unverified_context())
    answers(where, status=503)


def free(where):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError:
            return False
    return True


@case
def every_address_of_both_families(p):
    need(p)
    port = address(p)[1]
    p.cli("compute", "service", "scale", "web", "--replicas", 1, "--yes", "--wait")
    p.stop()
    p.options[1] = f"[::]:{FIRST}-{FIRST + 19}"
    p.start()
    equal(service(p)["status"]["address"], f"[::]:{port}", "its port lasts")
    answers(("::1", port))  # nobody was there before
    equal(get(("127.0.0.1", port))[0], 200)
    p.cli("compute", "service", "scale", "web", "--replicas", 0, "--yes", "--wait")
    p.stop()
    p.options[1] = f"127.0.0.1:{FIRST}-{FIRST + 19}"
    p.start()
    answers(("127.0.0.1", port), status=503)


@case
def what_is_deleted_gives_its_address_back(p):
    need(p)
    where = address(p)
    p.json("compute", "service", "stop", "web", "--yes", "--wait")
    wait_until("its address is closed", 30, lambda: free(where))
    p.json("compute", "service", "delete", "web", "--yes")
    p.json("compute", "service", "stop", "api", "--yes", "--wait")
    deploy(p, "api", "--replicas", 0, "--host", "a.example", "--wait")
    equal(answers(("127.0.0.1", HTTP), status=503, headers={"Host": "a.example"})[0], 503)
    p.json("compute", "service", "stop", "api", "--yes", "--wait")
    p.json("compute", "service", "delete", "api", "--yes")
    p.stop()
    check(not alive(haproxy(p)), "HAProxy ends with the last service")


def alive(pid):
    try:
        return pid > 0 and "State:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def end(platform):
    """Should a case have left it: HAProxy outlives the platform while there are services."""
    pid = haproxy(platform)
    if alive(pid) and "haproxy" in pathlib.Path(f"/proc/{pid}/comm").read_text():
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    acme = []
    with tempfile.TemporaryDirectory(prefix="synor-acme-") as folder:
        given = Directory(pathlib.Path(folder)) if DIRECTORY else None
        if given:
            acme = ["--acme-directory", f"https://127.0.0.1:{ACME}/dir", "--acme-contact",
                    "mailto:ops@example.com", "--acme-ca", f"{folder}/cert.pem"]
        here = Platform("--publish", f"127.0.0.1:{FIRST}-{FIRST + 19}", *acme)
        here.directory = given
        try:
            run(here)
        finally:
            end(here)
            if given:
                given.end()
