#!/usr/bin/env python3
"""Services call each other by name, on one node and across two: by their own address, over mutual
TLS between nodes, where both ends ask who may."""
import http.client
import os
import pathlib
import shutil
import signal
import subprocess

from harness import (Platform, Skip, case, check, equal, image_layout, need_sandbox, run,
                     static_program, wait_until)

FACTS = {}
SPY = ("--account", "spy")
SERVICE = ["--port", 8080, "--protocol", "http", "--health-interval", "200ms", "--health-timeout",
           "5s", "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--drain", "0s",
           "--stop-grace", "5s", "--isolation", "runc", "--yes"]


def endpoints(p, name, *whose):
    said = p.json("compute", "service", "get", name, *whose)["status"]["endpoints"]
    return [e for e in said if e["ready"]]


def wait_ready(p, name, *whose):
    return wait_until(f"{name} is ready", 90, lambda: endpoints(p, name, *whose), 0.1)[0]


def deploy(p, name, region, *options):
    p.json("compute", "service", "deploy", "--name", name, "--image", f"synor://{p.image}",
           *SERVICE, "--region", region, *options)


def get(where, path):
    connection = http.client.HTTPConnection(where["address"], where["port"], timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def call(p, caller, name, port=8080):
    """All that comes back when the service `caller` asks the other: text."""
    where = FACTS["at"][caller]
    return get(where, f"/:call/{name}:{port}")


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
        if where == str(home / "agent/mesh/balancer"):
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
    deploy(p, "spy", "far", *SPY)
    FACTS["at"] = {"web": wait_ready(p, "web"), "db": wait_ready(p, "db"),
                   "spy": wait_ready(p, "spy", *SPY)}


def need():
    if "at" not in FACTS:
        raise Skip("no service was deployed")


@case
def a_service_of_the_other_node_answers(p):
    need()
    said = wait_until("web reaches db", 30, lambda: (
        lambda text: text if answered(text) else None)(call(p, "web", "db")))
    check(f"web.{p.account}.mesh" in said and "forged" not in said, said)
    said = wait_until("db reaches web", 30, lambda: (
        lambda text: text if answered(text) else None)(call(p, "db", f"web.{p.account}.synor.")))
    check(f"db.{p.account}.mesh" in said, said)
    said = wait_until("and itself", 30, lambda: (
        lambda text: text if answered(text) else None)(call(p, "db", "db")))
    check(f"db.{p.account}.mesh" in said, said)


if __name__ == "__main__":
    p = Platform("--region", "near", "--instance-dns", "own")
    try:
        run(p)
    finally:
        if "far" in FACTS:
            FACTS["far"].sweep()
