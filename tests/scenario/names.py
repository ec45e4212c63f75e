#!/usr/bin/env python3
"""Internal names where there is no mesh (mesh.py has one): a program in its sandbox looks up another
service as programs do."""
import http.client
import ipaddress
import os
import subprocess

from harness import (Platform, Skip, case, check, equal, image_layout, need_networks, need_sandbox, run,
                     static_program, wait_until)

SERVICE = ["--port", 8080, "--health-interval", "200ms",
           "--health-timeout", "5s", "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb",
           "--drain", "0s", "--stop-grace", "5s", "--yes"]
SPY = ("--account", "spy")


def endpoints(p, name, *whose):
    said = p.json("compute", "service", "get", name, *whose)["status"]["endpoints"]
    return [e for e in said if e["ready"]]


def wait_ready(p, name, count, *whose):
    return wait_until(f"{count} of {name} are ready", 90, lambda: (
        lambda found: found if len(found) == count else None)(endpoints(p, name, *whose)), 0.1)


def deploy(p, name, *options):
    p.json("compute", "service", "deploy", "--name", name, "--image", f"synor://{p.image}",
           *SERVICE, *options)


def look_up(p, asker, name):
    """What getaddrinfo() says inside of the service `asker`: lines."""
    where = p.spy if asker == "spy" else p.askers[asker]
    connection = http.client.HTTPConnection(where["address"], where["port"], timeout=30)
    try:
        connection.request("GET", f"/{name}")
        return connection.getresponse().read().decode().split("\n")[:-1]
    finally:
        connection.close()


def fours(lines):
    return {line for line in lines if "." in line and not line.startswith("error")}


@case
def services_are_deployed(p):
    p.askers = {}
    program = static_program(p, "resolve.c")
    p.start()
    works = [s for s in need_sandbox(p) if s in ("runc", "gvisor")]
    image_layout(p.home / "layout", program)
    p.image = p.json("storage", "put", p.home / "layout", "--name", "images/resolve")["cid"]
    need_networks(p)
    deploy(p, "web", "--replicas", 2)
    for sandbox in works:
        deploy(p, f"ask-{sandbox}", "--isolation", sandbox)
    p.json("account", "create", "spy")
    p.json("account", "faucet", "spy", "--amount", "10")
    deploy(p, "spy", *SPY)
    wait_until("web comes up", 90, lambda: len(endpoints(p, "web")) == 2)
    for sandbox in works:
        p.askers[sandbox] = wait_ready(p, f"ask-{sandbox}", 1)[0]
    p.spy = wait_ready(p, "spy", 1, *SPY)[0]
    p.account = p.api("GET", "/v1/accounts/me")["name"]


def need(p):
    if not p.askers:
        raise Skip("no service was deployed")


@case
def a_service_is_found_by_its_name(p):
    need(p)
    web = {e["address"] for e in wait_ready(p, "web", 2)}
    for sandbox in p.askers:
        for name in ("web", f"web.{p.account}.synor", f"WEB.{p.account}.Synor."):
            said = look_up(p, sandbox, name)
            equal(fours(said), web, sandbox, name, said)
        for e in endpoints(p, "web"):
            said = look_up(p, sandbox, f"{e['replica']}.web.{p.account}.synor")
            equal(fours(said), {e["address"]}, sandbox, said)
        # What is not there, of us and of others; and what the node was told not to ask for.
        for name in ("api", f"7.web.{p.account}.synor", "web.nobody.synor", "example.org"):
            said = look_up(p, sandbox, name + ("." if "." in name else ""))
            check(said[0].startswith("error"), sandbox, name, said)


@case
def its_replicas_have_addresses_of_both_families(p):
    need(p)
    asker = "runc"  # in its network anybody may call; gVisor's own stack has the addresses
    if not os.path.exists("/proc/sys/net/ipv6") or asker not in p.askers:
        raise Skip("needs IPv6 and runc")
    sixes = set(look_up(p, asker, "web")) - fours(look_up(p, asker, "web"))
    equal(len(sixes), 2, sixes)
    for six in sixes:
        check(ipaddress.ip_address(six).is_private, six)
        said = subprocess.run(
            ["nsenter", f"--net={p.home}/agent/net/ns/{p.askers[asker]['instance']}", "curl", "-sS",
             "-6", "--noproxy", "*", "--max-time", "30", f"http://[{six}]:8080/:me"],
            capture_output=True, text=True, check=False)
        check(said.stdout.endswith(" -\n"), said)


@case
def accounts_do_not_see_each_other(p):
    need(p)
    equal(fours(look_up(p, "spy", "spy.spy.synor.")), {p.spy["address"]})
    for name in ("web", f"web.{p.account}.synor.", f"{p.account}.synor."):
        said = look_up(p, "spy", name)
        check(said[0].startswith("error"), name, said)
    said = look_up(p, next(iter(p.askers)), "spy.spy.synor.")
    check(said[0].startswith("error"), said)


@case
def a_name_goes_with_its_replica(p):
    need(p)
    asker = next(iter(p.askers))
    p.json("compute", "service", "scale", "web", "--replicas", 1, "--yes")
    left = wait_ready(p, "web", 1)[0]
    wait_until("one address is left", 10, lambda: fours(look_up(p, asker, "web")) ==
               {left["address"]}, 0.05)
    p.json("compute", "service", "scale", "web", "--replicas", 0, "--yes")
    wait_until("none is left", 10, lambda: look_up(p, asker, "web")[0].startswith("error"), 0.05)
    p.json("compute", "service", "scale", "web", "--replicas", 1, "--yes")
    web = wait_ready(p, "web", 1)[0]
    wait_until("it is back", 10, lambda: fours(look_up(p, asker, "web")) == {web["address"]}, 0.05)


@case
def names_outlive_a_killed_platform(p):
    need(p)
    web = {e["address"] for e in wait_ready(p, "web", 1)}
    p.kill()
    p.start()
    for sandbox in p.askers:
        wait_until("names are answered again", 30,
                   lambda asker=sandbox: fours(look_up(p, asker, "web")) == web)


@case
def nothing_is_left(p):
    need(p)
    names = [("web",), *((f"ask-{s}",) for s in p.askers), ("spy", *SPY)]
    for name in names:
        p.json("compute", "service", "stop", *name, "--yes")
    for name in names:
        wait_until(f"{name} has stopped", 60, lambda asked=name: p.json(
            "compute", "service", "get", *asked)["status"]["state"] == "stopped", 0.1)


if __name__ == "__main__":
    run(Platform("--instance-dns", "own", "--mesh-listen", "none"))
