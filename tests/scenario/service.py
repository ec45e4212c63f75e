#!/usr/bin/env python3
"""Services from outside: deployed, reached, killed, scaled, updated, rolled back, billed."""
import datetime
import errno
import http.client
import json
import os
import pathlib
import signal
import shutil
import subprocess
import sys

from harness import (SOURCE, Skip, case, check, conserved, equal, image_layout, need_networks,
                     need_sandbox, run, static_program, wait_until)

EXAMPLE = SOURCE / "examples/hello-service"
PORT = 8080
DEPLOY = ["--name", "web", "--image", "synor://images/hello", "--port", PORT, "--replicas", 3,
          "--health-check", "/health", "--health-interval", "200ms", "--health-timeout", "5s",
          "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--drain", "100ms",
          "--stop-grace", "5s", "--update-deadline", "60s"]


def service(p, name="web"):
    return p.json("compute", "service", "get", name)


def endpoints(p, name="web"):
    return service(p, name)["status"]["endpoints"]


def ready(p, name="web"):
    return [e for e in endpoints(p, name) if e["ready"]]


def wait_ready(p, count, name="web", seconds=90):
    def look():
        said = service(p, name)
        status = said["status"]
        good = (status["state"] == "running" and status["replicas"]["ready"] == count and
                len(status["endpoints"]) == count and
                status["settled_generation"] == said["generation"])
        return said if good else None
    return wait_until(f"{count} replicas are ready", seconds, look, 0.2)


def get(endpoint, path="/"):
    connection = http.client.HTTPConnection(endpoint["address"], endpoint["port"], timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def process_of(instance):
    """The pid of the program of an instance."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            around = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SYNOR_INSTANCE_ID={instance}".encode() in around and command.startswith(b"/hello"):
            return int(entry.name)
    return None


def events(p, *types):
    said = p.json("compute", "service", "events", "web")["items"]
    return [e for e in said if e["type"] in types]


@case
def an_image_is_built_and_stored(p):
    if shutil.which("cc") is None:
        raise Skip("needs a C compiler")
    p.start()
    p.works = need_sandbox(p)
    if "runc" not in p.works:
        raise Skip("needs runc")  # the test kills programs, and those of gVisor are not the host's
    layout = p.home / "layout"
    built = subprocess.run([sys.executable, EXAMPLE / "build-image", layout], capture_output=True,
                           text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", layout, "--name", "images/hello")
    p.wait_node()


def need(p):
    if not getattr(p, "deployed", False):
        raise Skip("no service was deployed")


@case
def it_is_deployed_and_reached(p):
    if "runc" not in getattr(p, "works", ()):
        raise Skip("there is no image")
    need_networks(p)
    plan = p.json("compute", "service", "deploy", *DEPLOY, "--isolation", "runc", "--plan")
    check(plan["placeable"] and plan["rate_hour"], plan)
    done = p.cli("compute", "service", "deploy", *DEPLOY, "--isolation", "runc", "--yes", code=None)
    equal(done.code, 0, done)
    said = wait_until("it has come up, or never will", 90, lambda: next(
        (s for s in [service(p)] if s["status"]["state"] == "running" or events(p, "ended")),
        None))
    ends = events(p, "ended")
    equal(said["status"]["state"], "running", json.dumps(said["status"], indent=1), ends)
    p.deployed = True
    wait_ready(p, 3)
    addresses = {e["address"] for e in ready(p)}
    equal(len(addresses), 3, "each replica has an address of its own")
    for endpoint in ready(p):
        status, text = get(endpoint)
        equal(status, 200)
        check(endpoint["instance"] in text, text)
    for state, names in (("running", ["web"]), ("stopped", [])):
        found = p.api("GET", f"/v1/services?state={state}")["items"]
        equal([one["name"] for one in found], names, state)
    p.api("GET", "/v1/services?state=dancing", want=400)
    # The same again changes nothing.
    again = p.json("compute", "service", "deploy", *DEPLOY, "--isolation", "runc", "--yes")
    equal(again["status"]["target"], 1)
    equal(again["generation"], service(p)["generation"])


@case
def a_killed_replica_comes_back(p):
    need(p)
    victim = ready(p)[0]
    pid = process_of(victim["instance"])
    check(pid, "its program is not found")
    os.kill(pid, signal.SIGKILL)
    wait_until("it takes no more traffic", 30, lambda: victim["instance"] not in
               {e["instance"] for e in ready(p)}, 0.05)
    wait_ready(p, 3)
    check(events(p, "ended"), "it is not told")
    rows = p.json("compute", "service", "stats", "web")["replicas"]
    equal(sorted(r["restarts"] for r in rows), [0, 0, 1], rows)
    said = p.json("compute", "service", "explain", "web")
    check(any(victim["instance"] or row for row in said["why"]), said)


@case
def files_are_applied(p):
    """What runs becomes what a compose file says; what is not in it any more goes."""
    need(p)
    file = p.home / "docker-compose.yaml"
    body = """
name: shop
services:
  back:
    image: synor://images/hello
    environment: {GREETING: "${GREETING:-hello}"}
    ports: ["8080"]
    cpus: 0.1
    mem_limit: 64m
  front:
    image: synor://images/hello
    depends_on: {back: {condition: service_healthy}}
    cpus: 0.1
    mem_limit: 64m
    ports: ["8080"]
    healthcheck: {test: "curl -f http://localhost:8080/health", interval: 200ms}
"""
    file.write_text(body)
    (p.home / ".env").write_text("GREETING='hi there'\n")
    plan = p.json("compute", "apply", "-f", file, "--plan")
    equal([(i["name"], i["action"]) for i in plan["items"]],
          [("back", "create"), ("front", "create")])
    equal(plan["items"][0]["spec"]["env"], {"GREETING": "hi there"})
    check(plan["items"][0]["rate_hour"], plan)
    equal([s["name"] for s in p.json("compute", "service", "list")["items"]], ["web"])
    p.cli("compute", "apply", "-f", file, "--yes", "--wait")
    equal(service(p, "front")["status"]["state"], "running")
    again = p.json("compute", "apply", "-f", file, "--yes")
    equal({i["action"] for i in again["items"]}, {"unchanged"})
    # One thing is other, one is gone, and what is not understood is refused by name.
    file.write_text(body.split("  front:")[0].replace("cpus: 0.1", "cpus: 0.2"))
    said = p.json("compute", "apply", "-f", file, "--prune", "--plan")
    equal([(i["name"], i["action"]) for i in said["items"]],
          [("back", "update"), ("front", "delete")])
    equal(said["items"][0]["changes"], [{"path": "cpu_millicores", "from": 100, "to": 200}])
    file.write_text(file.read_text() + "    privileged: true\n")
    refused = p.cli("compute", "apply", "-f", file, "--prune", "--yes", code=2)
    check("services.back.privileged" in refused.err, refused.err)
    p.cli("compute", "apply", "-f", file, "--prune", "--yes", "--wait", "--allow-unknown")
    equal(service(p, "back")["spec"]["cpu_millicores"], 200)
    equal(sorted(s["name"] for s in p.json("compute", "service", "list")["items"]),
          ["back", "web"])
    p.json("compute", "service", "stop", "back", "--yes", "--wait")
    p.json("compute", "service", "delete", "back", "--yes")


@case
def it_is_scaled_both_ways(p):
    need(p)
    p.cli("compute", "service", "scale", "web", "--replicas", 4, "--yes", "--wait")
    wait_ready(p, 4)
    p.cli("compute", "service", "scale", "web", "--replicas", 2, "--yes", "--wait")
    wait_ready(p, 2)
    equal(service(p)["status"]["target"], 1, "scaling makes no version")


@case
def an_update_replaces_replicas_without_a_gap(p):
    need(p)
    p.json("compute", "service", "update", "web", "--env", "GREETING=servus", "--yes")
    while True:
        said = service(p)
        check(said["status"]["replicas"]["ready"] >= 2, json.dumps(said["status"], indent=1))
        if said["status"]["stable"] == 2 and said["status"]["state"] == "running":
            break
    for endpoint in wait_ready(p, 2)["status"]["endpoints"]:
        check(get(endpoint)[1].startswith("servus from"), "the new version does not answer")


@case
def an_update_that_fails_is_rolled_back(p):
    need(p)
    done = p.cli("compute", "service", "update", "web", "--env", "CRASH=yes", "--yes", "--wait",
                 code=1)
    check("rolled back" in done.out + done.err, done)
    said = wait_ready(p, 2)
    equal(said["status"]["reason"], "rolled-back")
    equal(said["status"]["target"], 2)
    check("told to crash" in p.cli("compute", "service", "logs", "web").out, "its last words")
    versions = p.json("compute", "service", "history", "web")["items"]
    equal([v["version"] for v in versions], [1, 2, 3])
    rows = p.cli("compute", "service", "history", "web").out.splitlines()
    equal([row.split()[0] for row in rows], ["VERSION", "1", "2", "3"])
    check(rows[2].endswith("wanted") and rows[3].endswith("rolled back"), rows)
    p.cli("compute", "service", "rollback", "web", "--version", 1, "--yes", "--wait")
    for endpoint in wait_ready(p, 2)["status"]["endpoints"]:
        check(get(endpoint)[1].startswith("hello from"), "version 1 does not answer")


@case
def secrets_are_given_and_changed(p):
    need(p)
    p.cli("secret", "set", "greeting", stdin="whispering\n")
    p.error("compute", "service", "update", "web", "--secret", "GREETING=gone", "--yes")
    p.cli("compute", "service", "update", "web", "--secret", "GREETING=greeting", "--yes", "--wait")
    for endpoint in wait_ready(p, 2)["status"]["endpoints"]:
        check(get(endpoint)[1].startswith("whispering from"), get(endpoint))
    before = service(p)["status"]["target"]
    p.cli("secret", "set", "greeting", stdin="shouting\n")
    check(service(p)["status"]["target"] > before, "a secret that is set anew makes a version")
    for endpoint in wait_ready(p, 2)["status"]["endpoints"]:
        check(get(endpoint)[1].startswith("shouting from"), get(endpoint))
    equal(p.error("secret", "rm", "greeting", "--yes")["code"], "conflict")
    for said in (service(p), p.json("secret", "list"), events(p, "updated"),
                 p.json("compute", "service", "history", "web")):
        check("shouting" not in json.dumps(said), said)
    logs = [path for path in p.home.rglob("*.log") if "shouting" in path.read_text(errors="ignore")]
    check(all("instances" in str(path) for path in logs), "it stands in a log of the platform")


ONE = ["--name", "one", "--image", "synor://images/hello", "--port", PORT, "--isolation", "runc",
       "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--drain", "0s"]


@case
def a_replica_has_what_it_asks_for(p):
    need(p)
    p.cli("secret", "set", "file-key", stdin="k3pt in memory\n")
    for option, value, word in (
            ("--tmpfs", "cache", "--tmpfs"), ("--tmpfs", "/proc/x", "mount /proc/x"),
            ("--scratch-dir", "spool", "--scratch-dir"), ("--scratch-dir", "/tmp", "mount /tmp"),
            ("--tmpfs", "/x:1gb", "of the replica's memory"), ("--user", "0", "--user"),
            ("--user", "root", "--user"), ("--secret-file", "/a", "--secret-file"),
            ("--workdir", "app", "--workdir"), ("--hostname", "a.b", "--hostname"),
            ("--mount", "models:/x", "--mount"), ("--stop-signal", "SIGKILL", "--stop-signal"),
            ("--pre-stop", "sh", "--pre-stop"), ("--pre-stop", "tcp", "--pre-stop")):
        said = p.cli("compute", "service", "deploy", *ONE, option, value, "--yes", code=2)
        check(word in said.err and "spec." not in said.err, option, value, said)
    p.error("compute", "service", "deploy", *ONE, "--secret-file", "/a=nobody", "--yes")
    p.error("compute", "service", "deploy", *ONE, "--mount", "synor://not/there:/x", "--yes")
    stored = p.home / "stored"
    stored.mkdir()
    (stored / "word").write_text("it is stored")
    p.json("storage", "put", stored, "--name", "models/word")
    p.cli("compute", "service", "deploy", *ONE, "--secret-file", "/run/secrets/key=file-key",
          "--tmpfs", "/cache:1mb", "--tmpfs", "/run", "--mount", "synor://models/word:/models",
          "--scratch-dir", "/spool", "--user", "1234:4321", "--workdir", "/cache",
          "--hostname", "a-host", "--stop-signal", "SIGQUIT", "--yes", "--wait")
    said = service(p, "one")
    equal([(m["path"], m["kind"]) for m in said["spec"]["mounts"]],
          [("/cache", "tmpfs"), ("/models", "content"), ("/run", "tmpfs"),
           ("/run/secrets/key", "secret"), ("/spool", "scratch")])
    seen = p.cli("compute", "service", "get", "one").out
    for line in ("user        1234:4321", "mount       /cache  tmpfs 1 MiB",
                 "mount       /models  content synor://models/word",
                 "mount       /run/secrets/key  secret file-key", "readiness   tcp"):
        check(line in seen, line, seen)
    process = pathlib.Path(f"/proc/{process_of(ready(p, 'one')[0]['instance'])}")
    inside = process / "root"
    equal((inside / "run/secrets/key").read_text(), "k3pt in memory")
    equal((inside / "models/word").read_text(), "it is stored")
    seen = (inside / "run/secrets/key").stat()
    equal((seen.st_mode & 0o777, seen.st_uid % 65536, seen.st_gid % 65536), (0o400, 1234, 4321))
    ids = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
               if ":\t" in line)
    equal([int(ids[key].split()[0]) % 65536 for key in ("Uid", "Gid")], [1234, 4321])
    equal((ids["NoNewPrivs"], ids["Seccomp"], int(ids["CapBnd"], 16)), ("1", "2", 0))
    equal((inside / "etc/hostname").read_text().strip(), "a-host")
    equal(os.readlink(process / "cwd"), "/cache")
    mounts = [line.split() for line in (process / "mounts").read_text().splitlines()]
    equal({m[1]: m[2] for m in mounts if m[1] in ("/cache", "/spool", "/run", "/run/secrets/key")},
          {"/cache": "tmpfs", "/spool": "ext4", "/run": "tmpfs", "/run/secrets/key": "ramfs"})
    equal((inside / "spool").stat().st_mode & 0o7777, 0o1777)
    held = subprocess.run(["grep", "-rls", "k3pt in memory", p.home], capture_output=True, text=True,
                          check=False).stdout.split()
    equal([path for path in held if "/secrets/" not in path], [], "the secret stands on a disk")
    p.json("compute", "service", "stop", "one", "--yes", "--wait")
    p.json("compute", "service", "delete", "one", "--yes")


KEEPS = [*ONE[2:], "--name", "keeps", "--health-check", "tcp",
         "--pre-stop", "exec:/hello has /tmp/nothing"]


def on_volume(p):
    """A file on the volume of the replica of `keeps`, opened for writing as its program would."""
    process = pathlib.Path(f"/proc/{process_of(wait_ready(p, 1, 'keeps')['status']['endpoints'][0]['instance'])}")
    folder = os.open(process / "root/data", os.O_RDONLY | os.O_DIRECTORY)
    user = (process / "status").read_text().split("Uid:\t", 1)[1].split()[0]
    os.setegid(int(user))
    os.seteuid(int(user))
    try:
        return os.open("kept", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=folder)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.close(folder)


def kept(p, more=b""):
    """What is in that file, and something more of it from now on."""
    file = on_volume(p)
    try:
        before = os.pread(file, 1000, 0)
        os.write(file, more)
        equal(os.fstat(file).st_uid % 65536, 1000)
        return before
    finally:
        os.close(file)


@case
def a_volume_is_used_by_one_at_a_time(p):
    need(p)
    mounted = ["--volume", "kept:/data"]
    check("compute volume create" in
          p.error("compute", "service", "deploy", *KEEPS, *mounted, "--yes")["message"])
    plan = p.json("compute", "volume", "create", "kept", "--size", "16mb", "--plan")
    equal((plan["cost"]["rate_hour"], plan["cost"]["rate_month"]), ("0.000015625", "0.01140625"))
    equal(p.json("compute", "volume", "list")["items"], [])
    cost = p.json("compute", "volume", "create", "kept", "--size", "16mb")["cost"]
    equal((cost["spent"], cost["locked"]), ("0", "0"), "it is on no node")
    for options, word in ((["--replicas", 2], "up to 2"), (["--autoscale", "1-3"], "up to 3"),
                          (["--strategy", "canary"], "canary")):
        said = p.cli("compute", "service", "deploy", *KEEPS, *mounted, *options, "--yes", code=2)
        check(word in said.err and "/data" in said.err, options, said)
    for word in ("kept", "kept:data", ":/data"):
        check("--volume" in p.cli("compute", "service", "deploy", *KEEPS, "--volume", word, "--yes",
                                  code=2).err, word)
    p.json("compute", "service", "deploy", *KEEPS, *mounted, "--yes", "--wait")
    equal(kept(p, b"first "), b"")
    volume = p.json("compute", "volume", "get", "kept")
    equal((volume["used_by"], volume["node"]), (["keeps"], endpoints(p, "keeps")[0]["node"]))
    equal(volume["cost"]["locked"], "0.000375", "a day is locked when it has its node")
    p.error("compute", "volume", "rm", "kept", "--yes")
    other = [*ONE[2:], "--name", "other"]
    check("service keeps writes" in
          p.error("compute", "service", "deploy", *other, *mounted, "--yes")["message"])
    file = on_volume(p)
    try:
        for _ in range(40):
            os.write(file, bytes(1 << 20))
        raise AssertionError("40 MB fit on a volume of 16")
    except OSError as error:
        equal(error.errno, errno.ENOSPC)
        os.ftruncate(file, len("first "))
    finally:
        os.close(file)


@case
def what_is_on_a_volume_outlives_replicas(p):
    need(p)
    p.json("compute", "service", "update", "keeps", "--env", "NEW=1", "--yes", "--wait")
    equal(kept(p, b"updated "), b"first ")
    placed = [e["instance"] for e in p.json("compute", "service", "events", "keeps")["items"]
              if e["type"] == "placed"]
    first, second = [p.api("GET", f"/v1/instances/{i}")["status"] for i in placed]
    check(first["ended_at"] <= second["started_at"], "two had it at once", first, second)
    said = [line for line in p.log.read_text().splitlines() if "instance.pre-stop-failed" in line]
    check(len(said) == 1 and placed[0] in said[0] and "there is no /tmp/nothing" in said[0], said)
    os.kill(process_of(ready(p, "keeps")[0]["instance"]), signal.SIGKILL)
    wait_until("another one has come", 60, lambda: [e for e in ready(p, "keeps")
                                                    if e["instance"] not in placed], 0.1)
    equal(kept(p, b"killed "), b"first updated ")


@case
def a_volume_grows_with_the_next_replica(p):
    need(p)
    said = p.json("compute", "volume", "resize", "kept", "--size", "32mb")
    equal((said["size_bytes"], said["cost"]["rate_hour"]), (32 << 20, "0.00003125"))
    p.json("compute", "service", "restart", "keeps", "--wait")
    equal(kept(p), b"first updated killed ")
    file = on_volume(p)
    try:
        for _ in range(30):
            os.write(file, bytes(1 << 20))
        os.ftruncate(file, len("first updated killed "))
    finally:
        os.close(file)
    said = p.cli("compute", "volume", "resize", "kept", "--size", "16mb", code=2)
    check(said.err.startswith("synor: --size: 16 MiB is less than the 32 MiB"), said)


@case
def start_readiness_and_life_are_three_questions(p):
    need(p)
    has = "exec:/hello has /tmp/"
    for option, value in (("--startup-check", "exec:"), ("--liveness-check", "ftp"),
                          ("--readiness-check", ":x/y"), ("--health-check", "tcp:70000")):
        said = p.cli("compute", "service", "deploy", *ONE, option, value, "--yes", code=2)
        check(option in said.err and "spec." not in said.err, option, value, said)
    p.json("compute", "service", "deploy", *ONE, "--startup-check",
           has + "started", "--readiness-check", has + "ready", "--liveness-check", has + "alive",
           "--health-interval", "200ms", "--health-timeout", "20s", "--yes")

    def replica():
        return next((e["instance"] for e in endpoints(p, "one")
                     if e["state"] == "running" and process_of(e["instance"])), None)

    def says(instance, words):
        health = p.api("GET", f"/v1/instances/{instance}")["status"]["health"] or {}
        return words in health.get("message", "")

    first = wait_until("a replica runs", 60, replica, 0.1)
    flags = pathlib.Path(f"/proc/{process_of(first)}/root/tmp")
    wait_until("its start is asked for", 60, lambda: says(
        first, "start-up check: it exits with 1: there is no /tmp/started"), 0.1)
    (flags / "alive").touch()
    (flags / "started").touch()
    wait_until("it is asked whether it is ready", 60, lambda: says(
        first, "it exits with 1: there is no /tmp/ready") and not says(first, "start-up"), 0.1)
    (flags / "ready").touch()
    wait_until("it is ready", 60, lambda: ready(p, "one"), 0.1)
    (flags / "ready").unlink()
    wait_until("it leaves traffic", 60, lambda: not ready(p, "one"), 0.1)
    (flags / "ready").touch()
    wait_until("it is ready again", 60, lambda: ready(p, "one"), 0.1)
    equal(replica(), first, "readiness ends nobody")
    (flags / "alive").unlink()
    wait_until("it is replaced", 60, lambda: (replica() or first) != first, 0.1)
    ends = [e for e in p.json("compute", "service", "events", "one")["items"]
            if e["type"] == "ended"]
    check(any("liveness check: it exits with 1" in e["message"] for e in ends), ends)
    p.json("compute", "service", "stop", "one", "--yes", "--wait")
    p.json("compute", "service", "delete", "one", "--yes")


def periods(p):
    return sorted(p.json("bill", "list", "--of", "web")["items"],
                  key=lambda b: b["spec"]["period"]["number"])


@case
def a_grpc_server_is_asked_how_it_is(p):
    need(p)
    image_layout(p.home / "speaks", static_program(p, "health.c"))
    p.json("storage", "put", p.home / "speaks", "--name", "images/speaks")
    speaks = ["--name", "speaks", "--image", "synor://images/speaks", *ONE[4:], "--arg", "pkg.Up", "--yes"]
    for word in ("grpc:", "grpc:0", "grpc/", "grpc:x/y", "grpcs"):
        check("--health-check" in p.cli("compute", "service", "deploy", *speaks, "--health-check", word,
                                        code=2).err, word)
    said = p.json("compute", "service", "deploy", *speaks, "--health-check", "grpc/pkg.Up",
                  "--liveness-check", f"grpc:{PORT}/pkg.Up", "--wait")
    equal(said["spec"]["health"]["service"], "pkg.Up")
    equal(said["status"]["state"], "running")
    p.json("compute", "service", "update", "speaks", "--health-check", "grpc", "--yes")
    wait_until("it says that it is not well", 60, lambda: "it answers NOT_SERVING" in p.cli(
        "compute", "service", "explain", "speaks").out, 0.1)
    p.json("compute", "service", "stop", "speaks", "--yes", "--wait")
    p.json("compute", "service", "delete", "speaks", "--yes")


@case
def what_ends_is_restarted_as_it_was_asked_for(p):
    need(p)
    once = [*ONE[2:4], *ONE[6:], "--command", "/hello", "--arg", "has", "--yes"]
    for name, file, policy, word in (("once", "/hello", "on-failure", "completed"),
                                     ("never", "/tmp/nothing", "never", "ended")):
        p.json("compute", "service", "deploy", "--name", name, *once, "--arg", file, "--restart", policy)
        wait_until(f"{name} has ended", 60,
                   lambda: service(p, name)["status"]["reason"] == word, 0.1)
    check("restart" in p.cli("compute", "service", "explain", "never").out)
    # Neither was started twice, and both are when they are to be.
    for name in ("once", "never"):
        types = [e["type"] for e in p.json("compute", "service", "events", name)["items"]]
        equal((types.count("placed"), types.count("ended")), (1, 1), name, types)
    p.json("compute", "service", "restart", "once")
    wait_until("it has done it again", 60, lambda: (lambda s: (s["stable"], s["reason"]))(
        service(p, "once")["status"]) == (2, "completed"), 0.1)
    said = p.cli("compute", "service", "update", "once", "--autoscale", "1-2", "--restart", "never",
                 "--yes", code=2)
    check("--restart" in said.err, said)
    for name in ("once", "never"):
        p.json("compute", "service", "stop", name, "--yes", "--wait")
        p.json("compute", "service", "delete", name, "--yes")


@case
def it_is_billed_while_it_runs(p):
    need(p)
    p.json("compute", "service", "update", "web", "--billing-period", "1s", "--yes")
    wait_until("two periods are billed", 90, lambda: len(periods(p)) >= 2, 0.2)


@case
def who_may_call_it_is_said_at_any_time(p):
    need(p)
    before = service(p)
    check(before["status"]["virtual_address"].startswith("10.127."), before["status"])
    said = p.json("compute", "service", "update", "web", "--allow-from", "other/*",
                  "--allow-from", "own", "--yes")
    equal(said["spec"]["mesh"], {"allow": ["other/*", "own"]})
    equal(said["status"]["target"], before["status"]["target"], "replicas were replaced for it")
    equal(said["status"]["virtual_address"], before["status"]["virtual_address"])
    check("callers: other/*, own" in p.cli("compute", "service", "get", "web").out, "not shown")
    said = p.json("compute", "service", "update", "web", "--mesh-retry-budget", 10, "--mesh-break-at",
                  30, "--mesh-route", "path=/v2,method=GET,header=x-a=b*,header=x-c,to=old:2,"
                  "version=1:3,mirror=shadow:5,timeout=2s,retries=0", "--yes")["spec"]["mesh"]
    equal([said["retry_budget"], said["break_at"]], [10, 30])
    equal(said["routes"], [{
        "match": {"path_prefix": "/v2", "methods": ["GET"],
                  "headers": [{"name": "x-a", "prefix": "b"}, {"name": "x-c", "present": True}]},
        "to": [{"service": "old", "weight": 2}, {"version": 1, "weight": 3}],
        "mirror": {"service": "shadow", "percent": 5}, "timeout_ms": 2000, "retries": 0}])
    said = p.json("compute", "service", "update", "web", "--mesh-route", "none", "--yes")
    equal(said["spec"]["mesh"]["routes"], [])


@case
def replicas_outlive_the_platform(p):
    need(p)
    before = ready(p)
    pids = {e["instance"]: process_of(e["instance"]) for e in before}
    given = p.json("compute", "service", "deploy", "--name", "named", "--image",
                   "synor://images/hello", "--port", PORT, "--replicas", 0, "--internal", "--yes")
    p.kill()
    for endpoint in before:
        equal(get(endpoint)[0], 200, "it served while nobody looked after it")
    p.start()
    equal(service(p, "named")["status"]["virtual_address"], given["status"]["virtual_address"],
          "an address that was told of is another one after a crash")
    check(given["status"]["virtual_address"] != service(p)["status"]["virtual_address"], given)
    p.json("compute", "service", "stop", "named", "--yes", "--wait")
    p.json("compute", "service", "delete", "named", "--yes")
    # What the server says first is from before; then it hears of them again. Those that were
    # replaced meanwhile would never be these.
    wait_until("the same replicas are ready again", 90, lambda: {
        e["instance"]: process_of(e["instance"]) for e in ready(p)} == pids, 0.2)


@case
def volumes_outlive_the_platform_until_they_are_removed(p):
    need(p)
    equal(kept(p), b"first updated killed ")
    p.json("compute", "service", "stop", "keeps", "--yes", "--wait")
    p.json("compute", "service", "deploy", *KEEPS, "--volume", "kept:/data:ro", "--replicas", 2,
           "--yes", "--wait")
    wait_ready(p, 2, "keeps")
    for endpoint in ready(p, "keeps"):
        folder = pathlib.Path(f"/proc/{process_of(endpoint['instance'])}/root/data")
        equal((folder / "kept").read_text(), "first updated killed ")
        check(os.statvfs(folder).f_flag & os.ST_RDONLY, "it is read-only")
    p.json("compute", "service", "stop", "keeps", "--yes", "--wait")
    p.json("compute", "service", "delete", "keeps", "--yes")
    p.cli("compute", "volume", "rm", "kept", "--yes")
    equal(p.json("compute", "volume", "list")["items"], [])
    bill = next(b for b in p.json("bill", "list")["items"] if b["spec"].get("volume") == "kept")
    line, = bill["status"]["lines"]
    since, until = (datetime.datetime.fromisoformat(bill["spec"]["period"][k].rstrip("Z"))
                    for k in ("since", "until"))
    spans = {int(size): ms for size, ms in bill["spec"]["stored"]["until"].items()}
    equal(sorted(spans), [16 << 20, 32 << 20])
    equal(sum(spans.values()), round((until - since) / datetime.timedelta(milliseconds=1)))
    equal((line["item"], int(line["quantity"])),
          ("volume", sum(size * ms for size, ms in spans.items())))
    verdict = p.json("bill", "verify", bill["id"])
    check(verdict["agrees"], json.dumps(verdict, indent=1))
    wait_until("the node removes it", 60, lambda: not list((p.home / "agent/volumes").iterdir()))


@case
def it_is_stopped_billed_and_deleted(p):
    need(p)
    p.json("compute", "service", "update", "web", "--billing-period", "24h", "--yes")
    p.error("compute", "service", "delete", "web", "--yes")
    said = p.json("compute", "service", "stop", "web", "--yes", "--wait")
    equal(said["status"]["state"], "stopped")
    equal(said["status"]["endpoints"], [])
    bill = p.json("bill", "show", said["status"]["bill"])
    items = {line["item"] for line in bill["status"]["lines"]}
    check({"cpu", "memory"} <= items, items)
    equal(bill["spec"]["job"], said["id"])
    verdict = p.json("bill", "verify", bill["id"])
    check(verdict["agrees"] and verdict["signatures_ok"], json.dumps(verdict, indent=1))
    # Also the periods before, one of which was billed as the platform was killed or came back: each
    # verifies, and goes on where the one before ended.
    bills = periods(p)
    equal([b["spec"]["period"]["number"] for b in bills], list(range(1, len(bills) + 1)))
    check(len(bills) >= 3 and bills[-1]["id"] == bill["id"], [b["id"] for b in bills])
    for one in bills[:3] + bills[-3:]:
        verdict = p.json("bill", "verify", one["id"])
        check(verdict["agrees"] and verdict["signatures_ok"], json.dumps(verdict, indent=1))
    equal(p.json("bill", "show", "web")["id"], bill["id"], "by its name the newest is meant")
    conserved(p)
    p.json("compute", "service", "delete", "web", "--yes")
    said = p.cli("compute", "service", "get", "web", code=1)
    check("synor compute service list" in said.out + said.err, said)
    wait_until("the agent destroys what has ended", 60, lambda: not p.instance_folders())


if __name__ == "__main__":
    run()
