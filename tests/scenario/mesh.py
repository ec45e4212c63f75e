#!/usr/bin/env python3
"""Services call each other by name, on one node and across two: by their own address, over mutual
TLS between nodes, where both ends ask who may."""
import http.client
import ipaddress
import os
import pathlib
import shutil
import signal
import subprocess

from harness import (Platform, Skip, case, check, equal, image_layout, need_sandbox, run,
                     static_program, wait_until)

FACTS = {}
SPY = ("--account", "spy")
SERVICE = ["--port", 8080, "--health-interval", "200ms", "--health-timeout",
           "5s", "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--drain", "0s",
           "--stop-grace", "5s", "--isolation", "runc", "--yes"]


def endpoints(p, name, *whose):
    said = p.json("compute", "service", "get", name, *whose)["status"]["endpoints"]
    return [e for e in said if e["ready"]]


def wait_ready(p, name, *whose):
    return wait_until(f"{name} is ready", 90, lambda: endpoints(p, name, *whose), 0.1)[0]


def deploy(p, name, region, *options, protocol="http"):
    p.json("compute", "service", "deploy", "--name", name, "--image", f"synor://{p.image}",
           *SERVICE, "--protocol", protocol, "--region", region, *options)


def get(where, path):
    connection = http.client.HTTPConnection(where["address"], where["port"], timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def call(p, caller, name, port=8080, path=""):
    """All that comes back when the service `caller` asks the other: text."""
    where = FACTS["at"][caller]
    return get(where, f"/:call/{name}:{port}{path}")


def answered(said):
    return said.startswith("HTTP/1.1 200")


def refused(said):
    return said.startswith("HTTP/1.1 403")


def haproxies(home):
    """The mesh's HAProxies of the agent below `home`."""
    found = []
    for pid in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            where = os.readlink(pid / "cwd") if (pid / "comm").read_text() == "haproxy\n" else ""
        except OSError:
            continue
        if where.startswith(str(home / "agent/mesh/balancer")):
            found.append(int(pid.name))
    return found


@case
def two_nodes_have_a_service_each(p):
    for tool in ("haproxy", "openssl"):
        if shutil.which(tool) is None:
            raise Skip(f"needs {tool}")
    program = static_program(p, "resolve.c")
    p.start()
    if "runc" not in need_sandbox(p):
        raise Skip("needs runc")
    image_layout(p.home / "layout", program)
    p.image = p.json("storage", "put", p.home / "layout", "--name", "images/resolve")["cid"]
    token = p.json("account", "token", "provider", "--scope", "join")["token"]
    FACTS["far"] = Platform("--server", str(p.home / "synor.sock"), "--token", token, "--name",
                            "far", "--region", "far", "--instance-dns", "own", command="agent")
    FACTS["far"].start()
    wait_until("it joined", 20, lambda: [
        n for n in p.json("node", "list")["items"] if n["name"] == "far"])
    p.json("account", "create", "spy")
    p.json("account", "faucet", "spy", "--amount", "10")
    p.account = p.api("GET", "/v1/accounts/me")["name"]
    deploy(p, "web", "near")
    deploy(p, "db", "far")
    deploy(p, "raw", "far", protocol="tcp")
    deploy(p, "next", "near")
    deploy(p, "spy", "far", *SPY)
    FACTS["at"] = {"web": wait_ready(p, "web"), "db": wait_ready(p, "db"),
                   "next": wait_ready(p, "next"),
                   "spy": wait_ready(p, "spy", *SPY)}


def need():
    if "at" not in FACTS:
        raise Skip("no service was deployed")


def reaches(p, caller, name):
    """The answer, when it is one."""
    return wait_until(f"{caller} reaches {name}", 30, lambda: (
        lambda text: text if answered(text) else None)(call(p, caller, name)), 0.05)


@case
def a_service_of_the_other_node_answers(p):
    need()
    for name in ("db", f"db.{p.account}.synor."):
        said = reaches(p, "web", name)
        check(f"web.{p.account}.mesh" in said and "forged" not in said, said)
    said = reaches(p, "db", "web")
    check(f"db.{p.account}.mesh" in said, said)
    said = reaches(p, "web", "raw")  # of what is no HTTP nothing is read or changed
    check("forged" in said, said)


@case
def strangers_are_refused_until_they_are_allowed(p):
    need()
    address = p.json("compute", "service", "get", "db")["status"]["virtual_address"]
    own = ipaddress.ip_address(address)
    check(own in ipaddress.ip_network("10.127.0.0/16"), own)
    check(address in get(FACTS["at"]["web"], "/db").split())
    check(get(FACTS["at"]["spy"], f"/db.{p.account}.synor.").startswith("error"))
    wait_until("the stranger is refused", 30, lambda: refused(call(p, "spy", address)))
    deploy(p, "db", "far", "--allow-from", "own", "--allow-from", "spy/spy")
    said = reaches(p, "spy", f"db.{p.account}.synor.")
    check("spy.spy.mesh" in said, said)
    deploy(p, "db", "far", "--allow-from", "spy/*")
    wait_until("its own account is refused", 30, lambda: refused(call(p, "web", address)))
    deploy(p, "db", "far", "--allow-from", "own")
    reaches(p, "web", "db")
    wait_until("the stranger is refused", 30, lambda: refused(call(p, "spy", address)))


def curl_within(p, instance, *options):
    """What curl says in the network of an instance of this node."""
    return subprocess.run(["nsenter", f"--net={p.home}/agent/net/ns/{instance}", "curl", "-sS",
                           "--noproxy", "*", "--max-time", "30", *options],
                          capture_output=True, text=True, check=False)


@case
def a_service_is_reached_by_its_address_of_ipv6(p):
    need()
    if not os.path.exists("/proc/sys/net/ipv6") or shutil.which("curl") is None:
        raise Skip("needs IPv6 and curl")
    status = p.json("compute", "service", "get", "db")["status"]
    four, six = (ipaddress.ip_address(status[key]) for key in
                 ("virtual_address", "virtual_address6"))
    equal(int(six), int(ipaddress.ip_address("fd53:796e:6f72::")) + int(four), six)
    check(f"{four}, {six}" in p.cli("compute", "service", "get", "db").out)
    equal(set(get(FACTS["at"]["web"], "/db").split()), {str(four), str(six)})
    web = FACTS["at"]["web"]["instance"]
    said = curl_within(p, web, "-6", "-w", " %{http_code} %{local_ip}", f"http://[{six}]:8080/:me")
    check(f"web.{p.account}.mesh" in said.stdout and " 200 fd" in said.stdout, said)
    # Of what has another port nobody knows; and a stranger is one by this address, too.
    said = curl_within(p, web, "-6", f"http://[{six}]:8081/:me")
    check(said.returncode == 7, "it is refused", said)
    deploy(p, "db", "far", "--allow-from", "none")
    wait_until("web is refused", 30, lambda: "403" in curl_within(
        p, web, "-6", "-o", "/dev/null", "-w", "%{http_code}", f"http://[{six}]:8080/:me").stdout)
    deploy(p, "db", "far", "--allow-from", "own")
    reaches(p, "web", "db")
    raw = p.json("compute", "service", "get", "raw")["status"]["virtual_address6"]
    said = curl_within(p, web, "-6", "-H", "X-Mesh-Caller: forged", f"http://[{raw}]:8080/:me")
    check("forged" in said.stdout, said)


def shake_hands(port, name, folder, *options):
    """What openssl says of the mesh's front, asked for `name`."""
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername",
                           name, "-CAfile", folder / "ca.pem", "-verify_return_error", *options],
                          input="GET / HTTP/1.0\r\n\r\n", capture_output=True, text=True,
                          timeout=30, check=False)


@case
def both_ends_show_who_they_are(p):
    need()
    port = int((FACTS["far"].home / "agent/mesh/ports").read_text().split()[1])
    folder = p.home / "agent/mesh/identities"
    mine = next(f for f in folder.glob("svc-*.pem"))
    name = f"db.{p.account}.mesh"
    with_mine = shake_hands(port, name, folder, "-cert", mine, "-key", mine, "-ign_eof")
    check("Verify return code: 0 (ok)" in with_mine.stdout, with_mine)
    check("HTTP/1.1 200" in with_mine.stdout, with_mine)
    shown = subprocess.run(["openssl", "x509", "-noout", "-subject", "-ext", "subjectAltName"],
                           input=with_mine.stdout, capture_output=True, text=True, check=True)
    check(f"CN = {name}" in shown.stdout and f"/account/{p.account}/service/db" in shown.stdout,
          shown)
    # Nobody, somebody of another authority, and who asks for what is not here.
    said = shake_hands(port, name, folder, "-ign_eof")
    check("HTTP/1.1" not in said.stdout, said)
    forged = p.home / "forged.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
                    f"/CN=web.{p.account}.mesh", "-keyout", forged, "-out", forged],
                   capture_output=True, check=True)
    said = shake_hands(port, name, folder, "-cert", forged, "-key", forged, "-ign_eof")
    check("HTTP/1.1" not in said.stdout, said)
    said = shake_hands(port, f"web.{p.account}.mesh", folder, "-cert", mine, "-key", mine)
    check("BEGIN CERTIFICATE" not in said.stdout, said)


@case
def callers_have_a_rate(p):
    need()
    deploy(p, "db", "far", "--allow-from", "own", "--mesh-rate", 1)
    wait_until("a caller sends too much", 30, lambda: call(p, "web", "db").startswith("HTTP/1.1 429"))
    deploy(p, "db", "far", "--allow-from", "own")
    wait_until("it may again", 30, lambda: all(answered(call(p, "web", "db")) for _ in range(5)))


@case
def requests_go_where_routes_lead(p):
    need()
    own, other = (endpoints(p, name)[0]["instance"] for name in ("db", "next"))
    routes = ("path=/:me/moved,to=next", "path=/:me/old,version=1",
              "path=/:me/half,to=db:1,to=next:1", "path=/:me/twice,mirror=next",
              "path=/:me/hidden,to=spy")
    before = p.json("compute", "service", "get", "db")["status"]["target"]
    deploy(p, "db", "far", "--mesh-break-at", 50, *(word for route in routes for word in ("--mesh-route", route)))
    wait_until("a route leads to another service", 30,
               lambda: other in call(p, "web", "db", path="/moved/on"))
    check(own in call(p, "web", "db", path="/movedon"), "a path that only begins alike")
    check(own in reaches(p, "web", "db"))
    # The other node is asked for a version by name.
    said = wait_until("the version answers", 30, lambda: (
        lambda text: text if answered(text) else None)(call(p, "web", "db", path="/old")))
    check(own in said, said)
    said = [call(p, "web", "db", path="/half") for _ in range(6)]
    equal(sorted(own in text for text in said), [False] * 3 + [True] * 3, said)
    check(own in call(p, "web", "db", path="/twice"), "the copy's answer is nobody's")
    check(refused(call(p, "web", "db", path="/hidden")), "a service of nobody's")
    equal(p.json("compute", "service", "get", "db")["status"]["target"], before)

    def told(name, **want):
        return [c for c in p.json("compute", "service", "mesh", name)["calls"]
                if want.items() <= c.items()]
    wait_until("routes are counted", 30, lambda: told("db", route=3, requests=6))
    wait_until("the copy is counted", 30, lambda: told(
        "next", caller=f"web.{p.account}.mesh", callee=f"next.{p.account}.mesh", requests=1))
    # Who fails is out for who calls it, until it is well on trial.
    get(FACTS["at"]["next"], "/:fail")
    wait_until("the one that fails is out", 30, lambda: all(
        own in call(p, "web", "db", path="/half") for _ in range(12)))

    def said_out():
        """It is out again only when it fails on trial, too: before that is told, it may be there."""
        for _ in range(4):
            call(p, "web", "db", path="/half")
        return told("db", route=3, servers=2, out=1)
    wait_until("it is said", 60, said_out)
    get(FACTS["at"]["next"], "/:well")
    wait_until("it is in again", 120, lambda: any(
        other in call(p, "web", "db", path="/half") for _ in range(12)), 0)
    shown = p.cli("compute", "service", "mesh", "db").out
    check("route 3     path=/:me/half,to=db:1,to=next:1" in shown, shown)
    check("tried again 20% of a caller's requests" in shown, shown)
    deploy(p, "db", "far", "--allow-from", "own")
    wait_until("without routes all is as before", 30,
               lambda: own in call(p, "web", "db", path="/moved"))


@case
def the_mesh_comes_back(p):
    need()
    for home in (p.home, FACTS["far"].home):
        # One that was replaced ends what it has.
        before = wait_until("one HAProxy is left", 30, lambda at=home: (
            lambda found: found if len(found) == 1 else None)(haproxies(at)), 0.1)
        os.kill(before[0], signal.SIGKILL)
        wait_until("another HAProxy", 30, lambda was=before, at=home: haproxies(at) not in ([], was))
        reaches(p, "web", "db")
    # Calls go on while the agents are away, and when they come back; names wait for them.
    address = p.json("compute", "service", "get", "db")["status"]["virtual_address"]
    for one in (p, FACTS["far"]):
        one.kill()
        said = call(p, "web", address)
        check(answered(said), said)
        one.start()
        for _ in range(20):
            said = call(p, "web", address)
            check(answered(said), said)
    reaches(p, "web", "db")


@case
def calls_are_counted(p):
    need()
    here = {"caller": f"web.{p.account}.mesh", "callee": f"db.{p.account}.mesh"}

    def told():
        said = p.json("compute", "service", "mesh", "db")
        return [c for c in said["calls"] if here.items() <= c.items() and c["2xx"] > 0]
    found = wait_until("a heartbeat tells of calls", 30, told)
    check(found[0]["requests"] >= found[0]["2xx"], found)
    said = p.json("compute", "service", "mesh", "db")
    equal((said["name"], said["allow"]), (here["callee"], ["own"]))
    check(said["identity"].endswith(f"/account/{p.account}/service/db"), said)
    check(here["caller"] in p.cli("compute", "service", "mesh", "db").out)
    text = p.http("GET", "/metrics")[2].decode()
    check(f'caller="{here["caller"]}",callee="{here["callee"]}",code="2xx"' in text, text[-2000:])


def both_are_believed():
    """The other node has got the new authority with its newest identity, which the old one signed."""
    folder = FACTS["far"].home / "agent/mesh/identities"
    equal((folder / "ca.pem").read_text().count("BEGIN CERTIFICATE"), 2)
    newest = max(folder.glob("svc-*.pem"), key=lambda file: file.stat().st_mtime)
    said = subprocess.run(["openssl", "verify", "-CAfile", folder / "ca.pem", newest],
                          capture_output=True, text=True, check=False)
    equal(said.returncode, 0, said)


@case
def a_call_wakes_what_sleeps(p):
    need()
    before = p.json("mesh", "authority", "list")["items"]
    equal([row["state"] for row in before], ["signs"])
    said = p.cli("mesh", "authority", "rotate", "--yes").out
    check("is believed from now on" in said and "alone from" in said, said)
    rows = p.json("mesh", "authority", "list")["items"]
    equal([row["state"] for row in rows], ["signs", "next"])
    equal(rows[0]["fingerprint"], before[0]["fingerprint"])
    deploy(p, "naps", "far", "--internal", "--autoscale", "0-1", "--autoscale-metric", "requests=50",
           "--autoscale-idle", "1s")

    p.api("PATCH", "/v1/services/naps", {"spec": {"autoscale": {
        "min": 0, "max": 1, "every_ms": 1000, "average_ms": 0, "idle_ms": 1000, "down": {"stabilise_ms": 0},
        "metrics": [{"metric": "requests", "target": "50"}]}}})

    def state():
        return p.json("compute", "service", "get", "naps")["status"]

    wait_until("it sleeps", 60, lambda: state()["reason"] == "scaled-to-zero" and
               not state()["endpoints"], 0.1)
    # One call, which is answered: it waits for the replica.
    said = call(p, "web", "naps")
    check(answered(said) and f"web.{p.account}.mesh" in said, said)
    both_are_believed()
    reaches(p, "db", "web")  # whose node has the old authority alone
    events = p.json("compute", "service", "events", "naps")["items"]
    check([e for e in events if e["type"] == "scaled" and e["reason"] == "held"], events)
    p.json("compute", "service", "stop", "naps", "--yes", "--wait")
    p.json("compute", "service", "delete", "naps", "--yes")


@case
def the_second_node_leaves(p):
    far = FACTS.pop("far", None)
    if far is None:
        return
    try:
        if "at" in FACTS:
            for name in (("web",), ("db",), ("raw",), ("next",), ("spy", *SPY)):
                p.json("compute", "service", "stop", *name, "--yes")
            wait_until("its instances are gone", 60, lambda: not far.instance_folders())
        far.stop()
        equal(far.leftovers(), [])
    finally:
        print("\n".join("# far: " + line for line in far.log_tail().splitlines()[-3:]))
        far.sweep()


run(Platform("--region", "near", "--instance-dns", "own"))
