#!/usr/bin/env python3
"""The platform's own life: up, status, doctor, version, down; and apart over TLS."""
import json
import os
import signal
import socket
import time

from harness import (SYNOR, JOB_S, Platform, Skip, case, check, equal, job_folder, run,
                     wait_until)
import subprocess

HELLO = "#!/bin/sh\necho hello from $SYNOR_JOB_ID\n"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


@case
def nothing_runs_yet(p):
    said = p.error("status", code=1)
    equal(said["code"], "unavailable", said)
    check("synor up" in json.dumps(said), "no way out is named:", said)


@case
def detached_and_ready_soon(p):
    started = time.monotonic()
    status = p.json("up", "--detach")
    took = time.monotonic() - started
    print(f"# ready within {took * 1000:.0f} ms")
    try:
        equal(status["ready"], True)
        equal(status["data_dir"], str(p.home))
        check(alive(status["pid"]), status)
        equal(int((p.home / "synor.pid").read_text()), status["pid"])
    finally:
        p.cli("down", code=None)
    wait_until("the daemon has ended", 20, lambda: not alive(status["pid"]))


@case
def keys_and_token_are_kept_to_the_owner(p):
    for name in ("credentials.json", "agent/node.key"):
        mode = (p.home / name).stat().st_mode & 0o777
        equal(oct(mode), oct(0o600), name)
    equal(oct(p.home.stat().st_mode & 0o077), oct(0), "the data folder is open to others")


@case
def first_start_prints_address_and_three_next_commands(_):
    fresh = Platform()
    try:
        said = fresh.cli("up", "--detach").out
        check(str(fresh.home) in said, said)
        commands = [line for line in said.splitlines() if line.startswith("  synor ")]
        equal(len(commands), 3, said)
        again = fresh.cli("up", "--detach").out
        check("already running" in again, again)
    finally:
        pid = int((fresh.home / "synor.pid").read_text())
        fresh.cli("down", code=None)
        wait_until("the daemon has ended", 20, lambda: not alive(pid))
        fresh.sweep()


@case
def second_up_says_so_and_harms_nothing(p):
    p.start()
    before = p.json("status")["pid"]
    put = p.home / "probe"
    put.write_text("kept")
    cid = p.json("storage", "put", put, "--name", "probe")["cid"]
    equal(p.json("up", "--detach")["pid"], before)
    equal(p.json("up")["pid"], before)
    # Also one that goes around the client's own look: the lock refuses it.
    (p.home / "synor.sock").rename(p.home / "hidden.sock")
    try:
        refused = p.cli("up", "--detach", "--json", code=None)
        check(refused.code != 0 and "already running" in refused.out + refused.err, refused)
    finally:
        if not (p.home / "synor.sock").exists():
            (p.home / "hidden.sock").rename(p.home / "synor.sock")
    equal(p.json("status")["pid"], before)
    equal(p.json("storage", "info", "synor://probe")["cid"], cid)


@case
def status_has_the_promised_shape(p):
    status = p.json("status")
    for key, kind in {"pid": int, "ready": bool, "version": str, "listen": str, "data_dir": str,
                      "nodes": dict}.items():
        check(isinstance(status[key], kind), key, status)
    equal(status["pid"], p.process.pid)
    p.wait_node()
    equal(p.json("status")["nodes"], {"ready": 1, "total": 1})


@case
def a_node_lists_its_devices(p):
    """Soon after it is ready: every processor that is capacity, once, and nothing else."""
    def known():
        return p.wait_node()["status"].get("devices")
    listed = wait_until("the node tells of its devices", 30, known)
    found = p.json("compute", "devices", "list")["items"]
    wanted = [d for d in found if not d["modelled"] and d["share"] != "host"]
    equal([d["id"] for d in listed], [d["id"] for d in wanted], listed)
    for device, want in zip(listed, wanted):
        for key, value in device.items():
            if key != "clock_mhz":  # may be another now
                equal(value, want[key], device)
    node = p.wait_node()["id"]
    equal(p.json("node", "get", node)["status"]["devices"], listed)
    equal(p.api("GET", f"/v1/nodes/{node}")["status"]["devices"], listed)
    maps = open(f"/proc/{p.process.pid}/maps", encoding="ascii", errors="replace").read()
    for library in ("libOpenCL", "libpocl", "libcuda", "libamdhip64", "libvulkan", "libze_loader"):
        check(library not in maps, f"{library} was loaded into the daemon")


@case
def version_is_the_same_everywhere(p):
    version = p.json("version")["version"]
    equal(p.json("status")["version"], version)
    equal(p.api("GET", "/v1/version")["version"], version)
    check(version in p.cli("version").out)


@case
def doctor_names_what_is_missing_and_how_to_get_it(p):
    found = p.json("doctor", code=None)
    check("code" not in found, found)
    text = json.dumps(found).lower()
    for subject in ("gvisor", "runc", "cgroup", "kvm", "networks", "names", "wireguard", "gpu"):
        check(subject in text, f"doctor does not speak of {subject}:", text[:3000])
    checks = found.get("checks") or found.get("items")
    check(checks, found)
    for item in checks:
        if item.get("state") in ("missing", "failed", "absent"):
            check(item.get("fix") or item.get("hint"), "no way to get it:", item)


@case
def health_and_metrics(p):
    equal(p.http("GET", "/healthz")[2].strip(), b"ok")
    status, headers, text = p.http("GET", "/metrics")
    equal(status, 200)
    kind = {k.lower(): v for k, v in headers.items()}["content-type"]
    check(kind.startswith("text/plain"), kind)
    check(b"# TYPE" in text and b"synor_" in text, text[:500])
    check(b"# TYPE synor_process_cpu_seconds_total counter\n" in text, text[:2000])


@case
def idle_costs_almost_nothing(p):
    def cpu_ticks():
        with open(f"/proc/{p.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    p.wait_node()
    time.sleep(1)
    before, seconds = cpu_ticks(), 5
    time.sleep(seconds)
    share = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    with open(f"/proc/{p.process.pid}/status", encoding="ascii") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    print(f"# idle: {share * 100:.2f} % of a core, {resident / 1024:.1f} MB resident")
    check(share < 0.05, f"idle takes {share * 100:.1f} % of a core; 1 % is promised")
    check(resident < 40 * 1024, f"{resident} kB resident; 40 MB is promised")


@case
def acknowledged_writes_survive_a_kill(p):
    names = []
    for number in range(5):
        account = p.json("account", "create", f"kept-{number}")
        names.append(account["id"])
        p.kill()
        p.start()
    known = {item["id"] for item in p.json("account", "list")["items"]}
    check(set(names) <= known, names, known)


@case
def down_stops_it_and_is_idempotent(p):
    pid = p.process.pid
    p.json("account", "create", "guest")
    p.json("account", "faucet", "guest")
    # It waits for a machine that there is none of; a platform counts everybody's.
    job = p.json("compute", "train", "create", "--account", "guest", "--framework", "custom",
                 "--model-config", job_folder(p.home, HELLO) / "model.yaml", "--max-budget", "1",
                 "--gpus", "64", "--yes")["id"]
    said = p.json("down", env={"SYNOR_SERVER": "https://192.0.2.1:1"})
    equal((said["was_running"], said["jobs_running"]), (True, 1))
    p.process.wait(timeout=60)
    p.process = None
    p.start()
    pid = p.process.pid
    said = p.json("down", "--stop-jobs")
    equal((said["was_running"], said["jobs_running"]), (True, 0))
    p.process.wait(timeout=60)
    equal(p.process.returncode, 0)
    p.process = None
    check(not alive(pid))
    equal(p.json("down")["was_running"], False)
    p.start()
    equal(p.json("compute", "train", "get", job, "--account", "guest")["status"]["state"], "stopped")


@case
def wrong_usage_exits_2(p):
    for args in (["frobnicate"], ["up", "--no-such-option"], ["storage", "get"], ["up", "--listen"],
                 ["compute", "train", "list", "--state", "dancing"]):
        result = p.cli(*args, code=2)
        check(result.err or result.out, args)
    for region in ("", "EU West!"):
        said = p.cli("up", "--region", region, "--data-dir", p.home / "no", code=2)
        check("--region" in said.err, said)
    check("--listen" in p.cli("up", "--lisen", "x", code=2).err, "no near miss is suggested")
    for args in (["--help"], ["up", "--help"], ["compute", "train", "create", "--help"]):
        text = p.cli(*args).out
        widest = max(len(line) for line in text.splitlines())
        check(widest <= 80, f"help of {args} is {widest} columns wide")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@case
def plain_http_beyond_loopback_is_refused(_):
    open_one = Platform()
    done = subprocess.run([SYNOR, "server", "--data-dir", str(open_one.home), "--insecure",
                           "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=20,
                          check=False, stdin=subprocess.DEVNULL)
    check(done.returncode != 0 and "loopback" in done.stderr + done.stdout, done)
    open_one.sweep()


@case
def server_and_agent_apart_over_tls(_):
    if os.getuid() != 0:
        raise Skip("needs root: sandboxes, cgroups and mounts")
    port = free_port()
    server = Platform("--listen", f"127.0.0.1:{port}", command="server")
    agent = None
    try:
        server.start()
        url = f"https://127.0.0.1:{port}"
        token = server.json("account", "token", "--scope", "join", "--name", "machines")["token"]
        fingerprint = server.json("status").get("fingerprint")
        check(fingerprint, "status does not tell the fingerprint to pin:", server.json("status"))

        # A client that pins another key must not talk; one without a token is told so.
        wrong = fingerprint[:-1] + ("0" if fingerprint[-1] != "0" else "1")
        refused = server.cli("account", "list", "--server", url, code=1,
                             env={"SYNOR_FINGERPRINT": wrong, "SYNOR_TOKEN": token})
        check("fingerprint" in refused.err or "certificate" in refused.err or "key" in refused.err,
              refused)
        refused = server.error("account", "list", "--server", url,
                               env={"SYNOR_FINGERPRINT": fingerprint})
        equal(refused["code"], "unauthenticated", refused)

        agent = Platform("--server", url, "--token", token, "--fingerprint", fingerprint,
                         "--name", "apart", command="agent")
        agent.start()
        node = server.wait_node()
        equal(node["name"], "apart", node)
        folder = job_folder(server.home, HELLO)
        job = server.create(folder)["id"]
        done = server.wait_end(job)
        equal(done["status"]["state"], "succeeded", json.dumps(done["status"], indent=1))
        check(f"hello from {job}" in server.logs(job))
        server.agreed_bill(job)

        # The server away: the agent goes on, and reports when it is back.
        job = server.create(job_folder(server.home, "#!/bin/sh\n"
                                       "while [ ! -e /synor/scratch/go ]; do sleep 0.1; done\n"
                                       "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 1; done\n"))["id"]
        server.wait_state(job, "running")
        # A session meets in the server, whose both sides come by TLS: nothing is lost between them.
        person = server.json("account", "token", "--scope", "tenant", "--name", "person")["token"]
        words = "over TLS\n" * 100000
        done = server.cli("compute", "train", "exec", job, "-i", "--server", url, "--", "sh", "-c",
                          "cat; touch /synor/scratch/go; echo errors >&2; exit 9", code=9, stdin=words,
                          env={"SYNOR_FINGERPRINT": fingerprint, "SYNOR_TOKEN": person})
        check(done.out == words, f"{len(done.out)} of {len(words)} bytes came back")
        equal(done.err, "errors\n")
        server.kill()
        time.sleep(2)
        server.start()
        done = server.wait_end(job, seconds=JOB_S)
        equal(done["status"]["state"], "succeeded", json.dumps(done["status"], indent=1))
        equal(done["status"]["attempt"], 1, "it was started anew")
        equal([line for line in server.logs(job).splitlines() if line.startswith("line")],
              [f"line {i}" for i in range(1, 9)])
    finally:
        tail = ""
        if agent is not None:
            tail = agent.log_tail()
            if agent.process is not None:
                agent.process.send_signal(signal.SIGTERM)
                try:
                    agent.process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    pass
            agent.sweep()
        if server.process is not None:
            server.process.terminate()
            server.process.wait(timeout=60)
            server.process = None
        server.sweep()
        print("\n".join("# agent: " + line for line in tail.splitlines()[-3:]), flush=True)


run()
