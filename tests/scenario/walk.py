#!/usr/bin/env python3
"""Every command of the table against a running platform: with --json it prints one JSON document of
the promised shape, whatever happens, and its exit status says what happened."""
import concurrent.futures
import json
import pathlib
import re
import subprocess
import tempfile

from harness import (COUNTER, SOURCE, SYNOR, case, check, equal, image_layout, job_folder,
                     need_sandbox, run, wait_until)

RESOURCE = {"kind": str, "id": str, "name": str, "account": str, "spec": dict, "status": dict,
            "generation": int, "revision": int, "created_at": str}
WAITING, TERMINAL = ("pending", "queued"), ("succeeded", "failed", "stopped")
FACTS = {}  # ids that cases hand on
GRAPH = str(pathlib.Path(__file__).resolve().parents[2] / "examples/graphs/fft-sort.json")


def groups_and_commands():
    """{path: is it a group} of everything that help names."""
    found, todo = {}, [[]]
    while todo:
        path = todo.pop()
        text = subprocess.run([SYNOR, *path, "--help"], check=True, capture_output=True,
                              text=True).stdout
        listed = re.search(r"^Commands:\n(.*?)\n\n", text, re.M | re.S)
        found[" ".join(path)] = bool(listed)
        if listed:
            todo += [[*path, name] for name in re.findall(r"^  ([a-z-]+)", listed[1], re.M)]
    return found


def has(shape, document, *said):
    for key, kind in shape.items():
        check(isinstance(document.get(key), kind), f"no {key} of {kind.__name__}:", *said, document)


def resource(document, kind=None):
    has(RESOURCE, document)
    has({"state": str, "reason": str}, document["status"], document)
    check(document["status"]["state"] and document["status"]["reason"],
          "a state without a reason:", document)
    if kind:
        equal(document["kind"], kind)
    return document


def items(document, kind=None):
    equal(set(document), {"items", "next"}, document)
    for item in document["items"]:
        if kind:
            resource(item, kind)
    return document["items"]


def image(document):
    has({"name": str, "ref": str, "digest": str, "cid": str, "size_bytes": int, "platform": str,
         "layers": list, "created_at": str}, document)


def graph_run(document):
    has({"elapsed_ns": int, "rounds_ns": list, "calls": dict, "workers": list, "kernels": list,
         "transfers": dict, "results": list, "failed": list}, document)
    equal(document["failed"], [])
    check(document["workers"] and document["kernels"] and document["results"], document)


def graph_plan(document):
    has({"plan": bool, "strategy": str, "makespan_ns": int, "energy_uj": int, "transfers": dict,
         "workers": list, "tasks": list}, document)
    check(document["makespan_ns"] == max(task["end_ns"] for task in document["tasks"]), document)
    for task in document["tasks"]:
        has({"name": str, "device": str, "begin_ns": int, "end_ns": int, "estimates_ns": dict}, task)
        check(set(task["estimates_ns"]) >= {"cpu0", "modelled0"}, task)


def simulation(document):
    has({"policy": str, "mode": str, "nodes": int, "cards": int, "arrived": int, "placed": int,
         "finished": int, "waiting": int, "allocation": dict, "fragmentation": dict,
         "energy": dict, "decisions": dict, "curve": list}, document)
    check(document["placed"] and document["curve"], document)


def explanation(document):
    shape = {"id": str, "state": str, "why": list, "fix": list}
    has(shape if document["id"].startswith(("svc-", "fn-")) else {**shape, "leases": list}, document)
    for row in document["why"]:
        equal(set(row), {"dimension", "node", "need", "have", "message"}, row)
        check(row["message"], row)
    check(all(isinstance(fix, str) and fix for fix in document["fix"]), document)


def capacity(document):
    has({"nodes": list}, document)
    check(document["nodes"], document)
    for row in document["nodes"]:
        has({"id": str, "name": str, "region": str, "provider": str, "state": str, "drained": bool,
             "cpu_millicores": dict, "memory_bytes": dict, "scratch_bytes": dict, "gpus": list,
             "modelled": list}, row)
        has({"capacity": int, "used": int, "free": int, "price_hour": str}, row["cpu_millicores"])


def distance(document):
    has({"from": str, "to": str, "rtt_us": int}, document)


def authority(document):
    has({"fingerprint": str, "from": str, "until": str, "certificate": str, "state": str}, document)
    return document["state"]


def prices(document):
    has({"id": str, "name": str, "prices": list}, document)
    for row in document["prices"]:
        has({"item": str, "unit": str, "price": str, "book": str, "offered": bool}, row)


def status(document):
    has({"pid": int, "ready": bool, "version": str, "listen": str, "data_dir": str, "nodes": dict},
        document)


def anything(document):
    check(isinstance(document, dict) and document, document)


def printed(document):
    equal(document["runtime"], "containerd", document)
    check("cni_conf_dir" in document["config"], document)


def error(document):
    """What failed says what, and how to go on."""
    equal(set(document) - {"request_id"}, {"code", "message", "hint", "details"}, document)
    check(re.fullmatch(r"[a-z-]+", document["code"]) and document["message"], document)


def blames(option):
    """It speaks of the option that was given, and not of what became of it."""
    def told(document):
        error(document)
        check(document["message"].startswith(f"--{option}:"), document)
    return told


def book(document):
    has({"class": str, "bids": list, "asks": list, "at": str}, document)


def create(p):
    return ["--framework", "custom", "--model-config", FACTS["folder"] / "model.yaml",
            "--max-budget", "1"]


def manifest(name, more=""):
    file = FACTS["folder"] / f"manifest-{len(list(FACTS['folder'].glob('manifest-*')))}.yaml"
    file.write_text(f"kind: service\nname: {name}\n{more}"
                    "spec: {image: 'synor://walk/file', replicas: 0}\n")
    return file


# path -> [(arguments, exit status, shape), ...]; a text in braces is a fact.
# No replica is wanted: every command works where instances have no network, too.
SERVICE = ["--name", "web", "--image", "synor://walk/file", "--replicas", "0"]

FUNCTION = ["--name", "walked", "--runtime", "wasm", "--code", "{module}"]

ROWS = {
    "version": [([], 0, anything)],
    "status": [([], 0, status)],
    "doctor": [([], 0, anything)],
    "up": [([], 0, status), (["--detach"], 0, status)],
    "server": [(["--no-such"], 2, error)],
    "agent": [([], 2, error), (["--server", "nonsense"], 2, error),
              (["--server", "/no/such", "--containerd", "run/x.sock"], 2, blames("containerd")),
              (["--server", "/no/such", "--containerd", "/run/x.sock"], 2, blames("containerd"))],
    "runtime config": [(["containerd", "--config", "/dev/null"], 0, printed), (["docker"], 2, error),
                       (["containerd", "--config", "/no/such"], 1, blames("config")), ([], 2, error)],
    "compute devices list": [([], 0, items)],
    "compute devices describe": [(["cpu0"], 0, anything), (["nope"], 1, error)],
    "compute devices profiles": [([], 0, items), (["h100-sxm"], 0, anything), (["h0"], 1, error)],
    "compute devices bench": [(["nope"], 1, error)],
    "compute run-graph": [([GRAPH, "--devices", "cpu0", "--result", "sum"], 0, graph_run),
                          ([GRAPH, "--modelled", "h100-sxm", "--plan"], 0, graph_plan),
                          ([GRAPH, "--plan", "--repeat", "2"], 2, error),
                          ([GRAPH, "--result", "nope"], 1, error), ([], 2, error)],
    "sim": [(["--nodes", "gen:20", "--workload", "gen:100", "--spot"], 0, simulation),
            (["--nodes", "gen:20", "--workload", "gen:100", "--arrivals", "100"], 0, simulation),
            (["--nodes", "/no/such", "--workload", "gen:1"], 1, error),
            (["--nodes", "gen:0", "--workload", "gen:1"], 2, error), ([], 2, error)],
    "completion": [(["bash"], 0, anything), (["tcsh"], 2, error), ([], 2, error)],
    "node list": [([], 0, lambda d: items(d, "node")), (["--capacity"], 0, capacity),
                  (["--capacity", "--watch"], 2, error)],
    "node get": [(["{node}"], 0, lambda d: resource(d, "node")), (["nobody"], 1, error),
                 (["{node}", "--capacity"], 0, capacity), (["nobody", "--capacity"], 1, error)],
    "node price": [(["{node}"], 0, prices), (["{node}", "--cpu", "0.03"], 0, prices),
                   (["{node}", "--default"], 0, prices), (["{node}", "--cpu", "-1"], 2, error),
                   (["{node}", "--gpu", "b200=1"], 2, error), (["nobody"], 1, error)],
    "node label": [(["{node}"], 0, lambda d: resource(d, "node")),
                   (["{node}", "walk=er", "--zone", "z1", "--rack", "r1"], 0,
                    lambda d: equal(d["spec"]["labels"], {"walk": "er", "synor.io/zone": "z1",
                                                          "synor.io/rack": "r1"}, d)),
                   (["{node}", "walk-", "synor.io/zone-", "synor.io/rack-"], 0,
                    lambda d: equal(d["spec"]["labels"], {}, d)),
                   (["{node}", "walker"], 2, error), (["{node}", "synor.io/x=1"], 2, error),
                   (["nobody", "a=b"], 1, error)],
    "mesh authority list": [([], 0, lambda d: [authority(row) for row in d["items"]])],
    "mesh authority rotate": [(["--yes"], 0, lambda d: equal(
        [authority(row) for row in d["items"]], ["signs", "next"], d)), (["--yes"], 1, error)],
    "region latency set": [(["near", "far", "20ms"], 0, distance), (["near", "near", "1ms"], 2, error),
                           (["near", "far", "soon"], 2, error)],
    "region latency list": [([], 0, lambda d: [distance(row) for row in d["items"]])],
    "node drain": [(["{node}", "--yes"], 0, lambda d: resource(d, "node")),
                   (["{node}", "--off"], 0, lambda d: resource(d, "node")),
                   (["nobody", "--yes"], 1, error)],
    "account create": [(["walker"], 0, lambda d: resource(d, "account")), (["walker"], 1, error),
                       (["Not A Name"], 2, error)],
    "account list": [([], 0, lambda d: items(d, "account"))],
    "account balance": [([], 0, lambda d: resource(d, "account")), (["nobody"], 1, error)],
    "account history": [([], 0, items), (["nobody"], 1, error)],
    "account faucet": [(["walker"], 0, anything), (["nobody"], 1, error),
                       (["walker", "--amount", "much"], 2, error)],
    "account transfer": [(["walker", "--amount", "1", "--yes"], 0, anything),
                         (["walker", "--amount", "100000", "--yes"], 4, error),
                         (["nobody", "--amount", "1", "--yes"], 1, error)],
    "account token": [(["walker"], 0, anything), (["walker", "--scope", "king"], 2, error)],
    "account tokens": [([], 0, items), (["nobody"], 1, error)],
    "account revoke": [(["no-such-token", "--yes"], 1, error)],
    "account quota": [(["walker", "--jobs", "9", "--yes"], 0, anything), (["walker"], 0, anything),
                      (["walker", "--jobs", "many"], 2, error), (["nobody"], 1, error)],
    "storage put": [(["{file}", "--name", "walk/file"], 0, anything), (["/no/such"], 1, error),
                    (["{file}", "--name", "../x"], 2, error)],
    "storage get": [(["synor://walk/file", "{out}"], 0, anything),
                    (["synor://walk/file", "{out}"], 1, error),
                    (["synor://no/such", "{out}-2"], 1, error), (["nonsense"], 1, error),
                    (["Not A Name"], None, error)],
    "storage ls": [([], 0, items), (["synor://walk/file"], None, anything),
                   (["synor://no/such"], 1, error)],
    "storage info": [([], 0, anything), (["synor://walk/file"], 0, anything),
                     (["synor://no/such"], 1, error)],
    "storage name": [(["synor://walk/file", "walk/again"], 0, anything),
                     (["synor://no/such", "walk/x"], 1, error)],
    "storage pin": [(["synor://walk/file"], 0, anything), ([], 0, items),
                    (["synor://walk/file", "--off"], 0, anything),
                    (["synor://no/such"], 1, error)],
    "storage rm": [(["walk/again", "--yes"], 0, anything), (["no/such", "--yes"], 1, error)],
    "storage gc": [(["--yes"], 0, anything), (["--grace", "soon"], 2, error)],
    "storage verify": [([], 0, anything)],
    "compute certificate add": [(["Walked", "--cert", "{file}", "--key", "{file}"], 2, error),
                                (["walked", "--cert", "{file}", "--key", "{file}"], 2, error)],
    "compute certificate list": [([], 0, items)],
    "compute certificate get": [(["walked"], 1, error)],
    "compute certificate renew": [(["walked"], 1, error), (["Walked"], 2, error)],
    "compute certificate rm": [(["walked", "--yes"], 1, error)],
    "compute volume create": [(["walked", "--size", "16mb", "--plan"], 0, anything),
                              (["walked", "--size", "16mb"], 0, anything),
                              (["walked"], 1, error), (["Walked"], 2, error),
                              (["walked", "--size", "1mb"], 2, blames("size")),
                              (["none", "--node", "no-such"], 1, error)],
    "compute volume list": [([], 0, items)],
    "compute volume get": [(["walked"], 0, anything), (["none"], 1, error)],
    "compute volume resize": [(["walked", "--size", "32mb"], 0, anything),
                              (["walked", "--size", "16mb"], 2, blames("size")),
                              (["walked", "--size", "64mb", "--plan"], 0, anything),
                              (["none", "--size", "32mb"], 1, error), (["walked"], 2, error)],
    "compute volume rm": [(["walked", "--yes"], 0, anything), (["walked", "--yes"], 1, error)],
    "compute queue create": [(["walked", "--visibility", "1m"], 0, anything), (["walked"], 1, error),
                             (["Walked"], 2, error), (["x", "--visibility", "0s"], 2, error),
                             (["x", "--max-receives", "3"], 2, error),
                             (["x", "--max-receives", "3", "--dead-letter", "none-such"], 1, error)],
    "compute queue update": [(["walked", "--backoff", "2s"], 0, anything), (["nothing"], 1, error)],
    "compute queue list": [([], 0, items)],
    "compute queue get": [(["walked"], 0, anything), (["nothing"], 1, error)],
    "compute queue send": [(["walked", "one", "two", "--attribute", "a=b"], 0, anything),
                           (["walked", "--file", "/no/such"], 1, error),
                           (["walked", "x", "--attribute", "b"], 2, blames("attribute"))],
    "compute queue peek": [(["walked"], 0, items), (["nothing"], 1, error)],
    "compute queue receive": [(["walked", "--max", "2"], 0, anything),
                              (["walked", "--max", "0"], 2, error)],
    "compute queue acknowledge": [(["walked", "0" * 16 + "-" + "0" * 16], 1, error),
                                  (["walked", "x"], 2, error)],
    "compute queue release": [(["walked", "0" * 16 + "-" + "0" * 16, "--delay", "1s"], 1, error)],
    "compute queue purge": [(["walked", "--yes"], 0, anything)],
    "compute queue rm": [(["walked", "--yes"], 0, anything), (["walked", "--yes"], 1, error)],
    "compute function key create": [
        (["walked", "--rate", "10", "--burst", "20", "--ttl", "30d"], 0, anything),
        (["walked"], 1, error), (["Walked"], 2, error),
        (["x", "--function", "none-such"], 1, blames("function")),
        (["x", "--burst", "5"], 2, blames("burst")), (["x", "--rate", "0"], 2, error)],
    "compute function key list": [([], 0, items)],
    "compute function key rm": [(["walked", "--yes"], 0, anything),
                                (["walked", "--yes"], 1, error)],
    "compute function token create": [
        (["--subject", "ada", "--ttl", "1h"], 0, anything), (["--ttl", "91d"], 2, blames("ttl")),
        (["--function", "none-such"], 1, blames("function")),
        (["--subject", "a b"], 2, blames("subject"))],
    "compute function token rotate": [(["--yes"], 0, anything)],
    "compute function token keys": [([], 0, anything)],
    "compute function token issuer add": [
        (["walked", "--issuer", "https://id.example", "--keys", "{jwks}"], 0, anything),
        (["walked", "--issuer", "https://id.example", "--keys", "/no/such"], 1, error),
        (["walked", "--issuer", "https://id.example", "--keys", "{file}"], 2, blames("keys")),
        (["Walked", "--issuer", "https://id.example", "--keys", "{file}"], 2, error),
        (["walked", "--keys", "{file}"], 2, error)],
    "compute function token issuer list": [([], 0, items)],
    "compute function token issuer rm": [(["walked", "--yes"], 0, anything),
                                         (["walked", "--yes"], 1, error)],
    "secret set": [(["walked", "--from-file", "{file}"], 0, anything), (["Walked"], 2, error),
                   (["walked", "--from-file", "/no/such"], 1, error)],
    "secret list": [([], 0, items)],
    "secret rm": [(["walked", "--yes"], 0, anything), (["walked", "--yes"], 1, error)],
    "bill list": [([], 0, lambda d: items(d, "bill")), (["--of", "nothing"], 0, items),
                  (["--of", "Not A Name"], 2, error)],
    "bill show": [(["{bill}"], 0, lambda d: resource(d, "bill")), (["nothing"], 1, error)],
    "bill verify": [(["{bill}"], 0, anything), (["nothing"], 1, error)],
    "market classes": [([], 0, items), (["--all"], 0, items)],
    "market sell": [(["{class}", "1", "--price", "0.02", "--account", "provider"], 0,
                     lambda d: resource(d, "order")),
                    (["{class}", "1000000", "--price", "1", "--account", "provider"], 4, error),
                    (["{class}", "1"], 2, error), (["nonsense", "1", "--price", "1"], 2, error)],
    "market book": [(["{class}"], 0, book), (["gpu/none/none/hour"], 1, error),
                    (["{class}", "--depth", "0"], 2, error)],
    "market quote": [(["{class}", "1"], 0, anything), (["{class}", "1", "--sell"], 0, anything),
                     (["{class}", "none"], 2, error), (["cpu/no/where/hour", "1"], 1, error)],
    "market offers": [([], 0, items), (["{class}"], 0, items), (["cpu/no/where/hour"], 1, error)],
    "market buy": [(["{class}", "1", "--price", "0.02", "--plan"], 0, anything),
                   (["{class}", "1", "--market", "--yes"], 0, lambda d: resource(d, "order")),
                   (["{class}", "1", "--price", "0.01", "--good-till", "1h"], 0,
                    lambda d: resource(d, "order")),
                   (["{class}", "1000000", "--price", "1000"], 4, error),
                   (["{class}", "1000000", "--price", "1000", "--plan"], 4, anything),
                   (["{class}", "-1", "--price", "1"], 2, error),
                   (["{class}", "1", "--price", "-1"], 2, error),
                   (["{class}", "1", "--price", "1", "--market"], 2, error),
                   (["{class}", "1", "--price", "1", "--good-till", "noon"], 2, error),
                   (["gpu/none/none/hour", "1", "--price", "1"], 1, error)],
    "market index": [(["{class}"], 0, anything), (["cpu/no/where/hour"], 1, error)],
    "market trades": [([], 0, items), (["{class}", "--mine"], 0, items),
                      (["cpu/no/where/hour"], 1, error)],
    "market orders": [([], 0, lambda d: items(d, "order")),
                      (["--state", "any", "--all"], 0, lambda d: items(d, "order")),
                      (["--state", "odd"], 2, error)],
    "market amend": [(["3", "--price", "0.011"], 0, lambda d: resource(d, "order")),
                     (["3"], 2, error), (["77", "--qty", "1"], 1, error)],
    "market cancel": [(["3"], 0, items), (["--all"], 0, items), (["3"], 1, error),
                      ([], 2, error), (["77"], 1, error)],
    "market holdings": [([], 0, items), (["--account", "provider"], 0, items)],
    "market reservations": [([], 0, items), (["--account", "provider"], 0, items)],
    "compute train create": [
        (lambda p: [*create(p), "--plan"], 0, anything),
        (lambda p: [*create(p), "--gpus", "64", "--plan"], 3, anything),
        (lambda p: [*create(p), "--max-budget", "1000000", "--yes"], 4, error),
        (lambda p: [*create(p), "--workers", "0"], 2, error),
        (lambda p: [*create(p), "--yes", "--wait"], 0, lambda d: resource(d, "training"))],
    "compute train list": [([], 0, lambda d: items(d, "training")),
                           (["--state", "odd"], 2, error)],
    "compute train get": [(["{job}"], 0, lambda d: resource(d, "training")),
                          (["{job}", "--wait"], 0, lambda d: resource(d, "training")),
                          (["train-nobody"], 1, error)],
    "compute train exec": [(["nobody", "true"], 1, error), ([], 2, error)],
    "compute train logs": [(["{job}"], 0, anything), (["train-nobody"], 1, error)],
    "compute train explain": [(["{job}"], 0, explanation), (["{stuck}"], 0, explanation),
                              (["train-nobody"], 1, error)],
    "compute explain": [(["{job}"], 0, explanation), (["{stuck}"], 0, explanation),
                        (["train-nobody"], 1, error)],
    "compute train checkpoints": [(["{job}"], 0, items), (["train-nobody"], 1, error)],
    "compute train metrics": [(["{job}"], 0, items), (["train-nobody"], 1, error)],
    "compute train events": [(["{job}"], 0, items), (["train-nobody"], 1, error)],
    "compute train stop": [(["{stuck}", "--yes", "--wait"], None,
                            lambda d: resource(d, "training")),
                           (["{job}", "--yes"], 1, error), (["train-nobody", "--yes"], 1, error)],
    "compute train resume": [(["{stuck}", "--yes"], 0, lambda d: resource(d, "training")),
                             (["train-nobody", "--yes"], 1, error)],
    "compute train delete": [(["{stuck}", "--yes"], 1, error), (["{job}", "--yes"], 0, anything),
                             (["train-nobody", "--yes"], 1, error)],
    "compute apply": [
        (lambda p: ["-f", manifest("web"), "--plan"], 0, anything),
        (lambda p: ["-f", manifest("web", "color: red\n"), "--plan"], 2, error),
        (lambda p: ["-f", manifest("WEB"), "--yes"], 2, error),
        (["-f", "/nonexistent", "--yes"], 1, error)],
    "compute service deploy": [
        ([*SERVICE, "--plan"], 0, anything),
        ([*SERVICE, "--cpu", "4000", "--plan"], 3, anything),
        ([*SERVICE, "--max-surge", "0", "--yes"], 2, error),
        ([*SERVICE, "--canary-weight", "50%,10%", "--yes"], 2, blames("canary-weight")),
        ([*SERVICE, "--port", "80", "--host", "a b", "--yes"], 2, blames("host")),
        ([*SERVICE, "--allow-from", "own", "--allow-from", "*/web", "--yes"], 2, blames("allow-from")),
        ([*SERVICE, "--allow-from", "own", "--allow-from", "none", "--yes"], 2, blames("allow-from")),
        ([*SERVICE, "--port", "80", "--mesh-rate", "5", "--yes"], 2, blames("mesh-rate")),
        ([*SERVICE, "--port", "80", "--mesh-eject-after", "1001", "--yes"], 2, error),
        ([*SERVICE, "--port", "80", "--mesh-route", "to=x", "--yes"], 2, blames("mesh-route")),
        ([*SERVICE, "--port", "80", "--mesh-route", "path", "--yes"], 2, blames("mesh-route")),
        ([*SERVICE, "--port", "80", "--mesh-route", "to=x:y", "--yes"], 2, blames("mesh-route")),
        ([*SERVICE, "--port", "80", "--protocol", "http", "--mesh-route", "path=v2", "--yes"], 2,
         blames("mesh-route")),
        ([*SERVICE, "--port", "80", "--mesh-retry-budget", "5", "--yes"], 2,
         blames("mesh-retry-budget")),
        (["--name", "web", "--image", "synor://nobody/none", "--yes"], 1, error),
        ([*SERVICE, "--yes"], 0, lambda d: resource(d, "service"))],
    "compute service list": [([], 0, lambda d: items(d, "service")), (["--odd"], 2, error)],
    "compute service get": [(["web", "--wait"], 0, lambda d: resource(d, "service")),
                            (["web"], 0, lambda d: resource(d, "service")),
                            (["nobody"], 1, error)],
    "compute service scale": [(["web", "--replicas", "0", "--yes", "--wait"], 0,
                               lambda d: resource(d, "service")),
                              (["web", "--replicas", "65", "--yes"], 2, error),
                              (["nobody", "--replicas", "1", "--yes"], 1, error)],
    "compute service update": [(["web", "--env", "A=1", "--yes", "--wait"], 0,
                                lambda d: resource(d, "service")),
                               (["nobody", "--env", "A=1", "--yes"], 1, error)],
    "compute service rollback": [(["web", "--version", "1", "--yes", "--wait"], 0,
                                  lambda d: resource(d, "service")),
                                 (["web", "--version", "9", "--yes"], 1, error)],
    "compute service promote": [(["web", "--yes"], 1, error), (["nobody", "--all", "--yes"], 1, error)],
    "compute service abort": [(["web", "--yes"], 1, error), (["nobody", "--yes"], 1, error)],
    "compute service restart": [(["web", "--yes", "--wait"], 0, lambda d: resource(d, "service")),
                                (["nobody", "--yes"], 1, error)],
    "compute service stats": [(["web"], 0, anything), (["nobody"], 1, error)],
    "compute service ca": [([], 0, anything), (["web"], 2, error)],
    "compute service history": [(["web"], 0, items), (["nobody"], 1, error)],
    "compute service events": [(["web"], 0, items), (["nobody"], 1, error)],
    "compute service mesh": [(["web"], 0, anything), (["nobody"], 1, error)],
    "compute service explain": [(["web"], 0, explanation), (["nobody"], 1, error)],
    "compute service logs": [(["web"], 0, anything), (["nobody"], 1, error)],
    "compute service inspect": [(["web"], 0, anything), (["nobody"], 1, error)],
    "compute service exec": [(["nobody", "true"], 1, error), (["web"], 2, error)],
    "compute service cp": [(["nobody:/x", "."], 1, error), (["x", "y"], 2, error)],
    "compute service port-forward": [(["nobody", "80"], 1, error), (["web", "x"], 2, error)],
    "compute service stop": [(["web", "--yes", "--wait"], 0, lambda d: resource(d, "service")),
                             (["web", "--yes"], 1, error)],
    "compute service delete": [(["web", "--yes"], 0, anything), (["web", "--yes"], 1, error)],
    "compute function deploy": [
        ([*FUNCTION, "--plan"], 0, anything),
        (["--name", "walked", "--runtime", "cobol", "--code", "{module}"], 2, blames("runtime")),
        (["--name", "walked", "--runtime", "python3", "--code", "{folder}"], 2, blames("handler")),
        (["--name", "walked", "--runtime", "wasm", "--code", "synor://no/such", "--yes"], 1, blames("code")),
        ([*FUNCTION, "--handler", "main.handler", "--plan"], 2, blames("handler")),
        ([*FUNCTION, "--memory", "64", "--plan"], 2, blames("memory")),
        ([*FUNCTION, "--timeout", "1h", "--plan"], 2, blames("timeout")),
        ([*FUNCTION, "--min-instances", "1", "--plan"], 2, blames("min-instances")),
        ([*FUNCTION, "--gpu-type", "h100", "--plan"], 2, blames("gpu-type")),
        ([*FUNCTION, "--gpu", "1", "--plan"], 2, blames("gpu")),
        ([*FUNCTION, "--prewarm", "on", "--plan"], 2, error),
        ([*FUNCTION, "--warmup-schedule", "daily", "--plan"], 2, blames("warmup-schedule")),
        ([*FUNCTION, "--warmup-schedule", "@daily,for=1w", "--plan"], 2, blames("warmup-schedule")),
        ([*FUNCTION, "--warmup-schedule", "@daily", "--plan"], 2, blames("warmup-schedule")),
        ([*FUNCTION, "--trigger", "http:/a//b", "--plan"], 2, blames("trigger")),
        ([*FUNCTION, "--trigger", "http:x/b", "--plan"], 2, blames("trigger")),
        ([*FUNCTION, "--trigger", "storage:/x", "--plan"], 2, blames("trigger")),
        ([*FUNCTION, "--trigger", "ledger:slash", "--plan"], 2, blames("trigger")),
        ([*FUNCTION, "--on-success", "topic", "--plan"], 2, blames("on-success")),
        ([*FUNCTION, "--on-failure", "queue:", "--plan"], 2, blames("on-failure")),
        ([*FUNCTION, "--env", "PORT=1", "--plan"], 2, blames("env")),
        ([*FUNCTION, "--secret", "A=none-such", "--plan"], 1, error),
        ([*FUNCTION, "--trigger", "http:/walked", "--no-wait", "--yes"], 0,
         lambda d: resource(d, "function")),
        ([*FUNCTION, "--trigger", "http:/walked", "--yes"], 0, lambda d: resource(d, "function"))],
    "compute function list": [([], 0, lambda d: items(d, "function")), (["--odd"], 2, error)],
    "compute function get": [(["walked", "--wait"], 0, lambda d: resource(d, "function")),
                             (["walked", "--wait", "--watch"], 2, error), (["nobody"], 1, error)],
    "compute function invoke": [(["walked", "--path", "/x"], 0, lambda d: equal(d.get("status"), 200, d)),
                                (["walked", "--path", "/"], 1, lambda d: equal(d.get("status"), 404, d)),
                                (["walked", "--version", "9"], 1, error), (["nobody"], 1, error),
                                (["walked", "--header", "x"], 2, blames("header")),
                                (["walked", "--data", "@/no/such"], 1, blames("data"))],
    "compute function invocations": [(["walked"], 0, items), (["walked", "none"], 1, error),
                                     (["nobody"], 1, error)],
    "compute function logs": [(["walked"], 0, anything), (["nobody"], 1, error)],
    "compute function metrics": [(["walked"], 0, anything), (["walked", "--minutes", "0"], 2, error),
                                 (["nobody"], 1, error)],
    "compute function versions": [(["walked"], 0, items), (["nobody"], 1, error)],
    "compute function traffic": [(["walked"], 0, anything), (["walked", "1=100"], 0, anything),
                                 (["walked", "1=50"], 2, error), (["walked", "9=100"], 1, error),
                                 (["walked", "1"], 2, error), (["nobody"], 1, error)],
    "compute function rollback": [(["walked", "--yes"], 1, error),
                                  (["walked", "--version", "9", "--yes"], 1, error)],
    "compute function triggers": [(["walked"], 0, items),
                                  (["walked", "--add", "schedule:@daily", "--yes"], 0, items),
                                  (["walked", "--remove", "2", "--yes"], 0, items),
                                  (["walked", "--remove", "7", "--yes"], 2, blames("remove")),
                                  (["walked", "--add", "http:/a//b", "--yes"], 2, blames("add"))],
    "compute function suspend": [(["walked", "--yes", "--wait"], 0, lambda d: resource(d, "function")),
                                 (["nobody", "--yes"], 1, error)],
    "compute function resume": [(["walked", "--yes", "--wait"], 0, lambda d: resource(d, "function")),
                                (["nobody", "--yes"], 1, error)],
    "compute function events": [(["walked"], 0, items), (["nobody"], 1, error)],
    "compute function explain": [(["walked"], 0, explanation), (["nobody"], 1, error)],
    "compute function delete": [(["walked", "--yes"], 0, anything), (["walked", "--yes"], 1, error)],
    "compute image push": [(["{layout}", "images/walk"], 0, image), (["{file}", "images/x"], 2, error),
                           (["{layout}", "Images/X"], 2, error),
                           (["{layout}", "127.0.0.1:1/walk:1"], 1, error),
                           (["synor://images/walk", "127.0.0.1:1/walk:1"], 1, error),
                           (["synor://images/none", "127.0.0.1:1/walk:1"], 1, error),
                           (["synor://images/walk", "Walk:1"], 2, error)],
    "compute image pull": [(["127.0.0.1:1/walk:1"], 1, error), (["Walk"], 2, error),
                           (["127.0.0.1:1/walk:1", "--platform", "z80"], 2, error)],
    "compute image list": [([], 0, items)],
    "compute image inspect": [(["images/walk"], 0, image), (["images/none"], 1, error)],
    "compute image export": [(["images/walk", "--output", "{folder}/walk.tar"], 0, image),
                             (["images/walk", "--output", "{folder}/walk.tar"], 1, error),
                             (["images/walk", "--output", "-"], 2, blames("output")),
                             (["images/none", "--output", "{folder}/none.tar"], 1, error)],
    "compute image rm": [(["images/walk", "--yes"], 0, anything),
                         (["images/walk", "--yes"], 1, error)],
    "down": [([], 0, anything), ([], 0, anything)],
}


def document_of(result):
    """What was printed: one JSON document, and nothing else."""
    try:
        return json.loads(result.out)
    except json.JSONDecodeError as bad:
        raise AssertionError(f"no JSON ({bad}): {result}") from None


def walk_one(p, path, row):
    arguments, code, shape = row
    arguments = arguments(p) if callable(arguments) else arguments
    filled = [str(one).format(**FACTS) if "{" in str(one) else one for one in arguments]
    result = p.cli(*path.split(), *filled, "--json", code=code)
    document = document_of(result)
    if shape is not error or result.code != 0:
        try:
            shape(document)
        except AssertionError as bad:
            raise AssertionError(f"{bad}\n{result}") from None
    if result.code != 0 and "code" in document:
        equal(result.code == 2, document["code"] == "invalid", "2 means wrong usage:", result)
        if document["code"] == "insufficient-funds":
            equal(result.code, 4)


@case
def every_command_has_its_rows(p):
    known = groups_and_commands()
    commands = {path for path, group in known.items() if not group}
    equal(sorted(commands), sorted(ROWS), "rows and commands differ")
    p.start()
    need_sandbox(p)
    FACTS["folder"] = job_folder(p.home, COUNTER, args=["3"])
    FACTS["node"] = p.wait_node()["id"]
    FACTS["file"] = FACTS["folder"] / "job.sh"
    FACTS["layout"] = p.home / "layout"
    image_layout(FACTS["layout"], "walk")
    FACTS["module"] = SOURCE / "examples/functions/wasm/hello.wat"
    FACTS["out"] = p.home / "walk-out"
    FACTS["jwks"] = SOURCE / "tests/corpus/jwt/jwks"
    FACTS["class"] = wait_until("the node tells of its cores", 60, lambda: next(
        (row["class"] for row in p.json("market", "classes")["items"]
         if row["kind"] == "cpu" and row["duration"] == "hour"), None))
    FACTS["job"] = p.json("compute", "train", "create", *create(p), "--yes")["id"]
    p.wait_end(FACTS["job"])
    FACTS["bill"] = wait_until("the bill", 20, lambda: p.job(FACTS["job"])["status"]["bill"])
    FACTS["stuck"] = p.json("compute", "train", "create", *create(p), "--gpus", "64", "--yes")["id"]
    wait_until("it is looked at", 20, lambda: p.job(FACTS["stuck"])["status"]["reason"] == "no-gpu")


@case
def every_command_answers_in_json(p):
    bad = []
    order = [path for path in ROWS if path != "down"] + ["down"]
    for path in order:
        for number, row in enumerate(ROWS[path], 1):
            try:
                walk_one(p, path, row)
            except AssertionError as wrong:
                bad.append(f"--- {path}, row {number}: {wrong}")
    if p.process is not None:  # `down` ended it
        p.process.wait(timeout=60)
        p.process = None
    check(not bad, "\n".join(bad))


@case
def without_a_platform_every_command_says_so(p):
    """Nothing runs: what needs a platform is told how to get one, in JSON too."""
    bad = []
    empty = tempfile.mkdtemp(dir=p.home)
    alone = ("version", "completion", "doctor", "up", "server", "agent", "down",
             "compute devices list", "compute devices describe", "compute devices profiles",
             "compute devices bench", "compute run-graph", "sim", "runtime config")

    def say(path):
        arguments = ROWS[path][0][0]
        arguments = arguments(p) if callable(arguments) else arguments
        filled = [str(one).format(**FACTS) if "{" in str(one) else one for one in arguments]
        return p.cli(*path.split(), *filled, "--json", code=None, env={"SYNOR_HOME": empty})

    paths = [path for path, rows in ROWS.items() if path not in alone and rows[0][1] != 2]
    # Side by side: each tries again for a third of a second before it gives up.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(say, paths))
    for path, result in zip(paths, results):
        try:
            said = json.loads(result.out)
            equal((result.code, said["code"]), (1, "unavailable"))
            check({"hint", "details"} <= set(said), said)
            check("synor up" in json.dumps(said), "no way out is named")
        except (AssertionError, ValueError, KeyError) as wrong:
            bad.append(f"--- {path}: {wrong}\n{result}")
    check(not bad, "\n".join(bad))


@case
def what_cannot_be_started_is_refused(p):
    """Wrong addresses and keys, where nothing runs yet: told at once, by status 2 or 1."""
    home = {"SYNOR_HOME": tempfile.mkdtemp(dir=p.home)}
    for command in (["up", "--detach"], ["server", "--detach"]):
        for address in ("nowhere", "127.0.0.1", "127.0.0.1:70000", ":::1"):
            result = p.cli(*command, "--listen", address, "--json", code=None, env=home)
            check(address in result.err, "not told:", result)
            error(document_of(result))
            equal(result.code, 2, result)
        for network in ("10.127.0.1/16", "10.128.0.0/16", "nothing"):
            result = p.cli(*command, "--service-network", network, "--json", code=2, env=home)
            blames("service-network")(document_of(result))
    for front in ("nowhere:7800", "127.0.0.1", "127.0.0.1:65535"):
        result = p.cli("up", "--detach", "--mesh-listen", front, "--json", code=2, env=home)
        blames("mesh-listen")(document_of(result))
    for options in (["--runtime", "container", "--containerd", "tcp:127.0.0.1:1"],
                    ["--containerd", "/run/containerd/containerd.sock"]):
        result = p.cli("up", "--detach", *options, "--json", code=2, env=home)
        blames("containerd")(document_of(result))
    result = p.cli("agent", "--server", "https://127.0.0.1:1", "--fingerprint", "12", env=home,
                   code=2)
    check("fingerprint" in result.err, result)


@case
def states_have_reasons_and_known_words(p):
    p.start()
    seen = set()
    for job in p.json("compute", "train", "list")["items"]:
        state = resource(job, "training")["status"]["state"]
        seen.add(state)
        check(state in WAITING + TERMINAL + ("starting", "running", "stopping"), job)
    check(seen & set(TERMINAL), seen)


@case
def an_agent_that_may_not_join_ends(p):
    home = {"SYNOR_HOME": tempfile.mkdtemp(dir=p.home)}
    refused = p.cli("agent", "--server", p.home / "synor.sock", "--token", "wrong", env=home, code=1)
    check("token" in refused.err, refused)


run()
