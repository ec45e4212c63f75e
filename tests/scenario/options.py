#!/usr/bin/env python3
"""Every option of `train create` does what it says: its effect is looked at where it happens, in
the sandbox, on the node or in the plan; what this machine cannot do is refused and says why."""
import json
import os
import re
import subprocess
import time

from harness import (Platform, SYNOR, case, check, equal, job_folder, need_sandbox, reports_of, run,
                     wait_until)

# Tells what it was given, as one JSON line.
TELLS = """#!/usr/bin/env python3
import json, os
with open(os.environ["SYNOR_HYPERPARAMETERS"]) as file:
    given = json.load(file)
print(json.dumps({"given": given, "env": dict(os.environ), "dataset":
                  sorted(os.listdir(os.environ["SYNOR_DATASET_DIR"]))}))
"""
BUSY = """#!/usr/bin/env python3
import time
end = time.time() + 4
while time.time() < end:
    pass
"""
QUICK = ("--cpus", "0.9", "--memory", "64mb", "--scratch", "32mb")  # for programs that start slowly
SMALL = ("--cpus", "0.1", "--memory", "64mb", "--scratch", "32mb")


def base(folder, *options, framework="custom"):
    return ["compute", "train", "create", "--framework", framework, "--model-config",
            folder / "model.yaml", "--max-budget", "1", *options]


def plan(p, folder, *options, code=0, **more):
    return p.json(*base(folder, *options, "--plan", **more), code=code)


def told(p, folder, *options):
    """What the program of TELLS told of itself under these options."""
    job = p.json(*base(folder, *options, "--yes"))
    equal(p.wait_end(job["id"])["status"]["state"], "succeeded", p.logs(job["id"]))
    return job, json.loads(p.logs(job["id"], "--rank", "0").splitlines()[-1])


def waits(p, folder, word, *options, framework="custom"):
    """A job with these options waits for this reason; its explanation."""
    job = p.json(*base(folder, *options, "--yes", framework=framework))["id"]
    wait_until(f"it waits: {word}", 20, lambda: p.job(job)["status"]["reason"] == word)
    explained = p.json("compute", "train", "explain", job)
    check(explained["why"] and explained["fix"], explained)
    said = p.cli("compute", "train", "stop", job, "--yes").out
    check("is being stopped; now pending" in said, said)
    p.wait_end(job)
    return explained


@case
def every_option_is_looked_at(p):
    """An option that is added gets a case here."""
    looked_at = quoted_options(open(__file__, encoding="utf-8").read())
    help_text = subprocess.run([SYNOR, "compute", "train", "create", "--help"], check=True,
                               capture_output=True, text=True).stdout.split("Options of every")[0]
    options = set(re.findall(r"^ +(--[a-z-]+)", help_text, re.M))
    check(len(options) > 25, options)
    equal(sorted(one for one in options if one not in looked_at), [], "options without a case")
    p.start()
    need_sandbox(p)


def quoted_options(text):
    return set(re.findall(r'"(--[a-z-]+)"', text))


@case
def what_the_program_is_told(p):
    folder = job_folder(p.home, TELLS, entry="tells.py", hyperparameters={"epochs": 1, "mine": 7})
    data = p.home / "data"
    data.mkdir()
    (data / "one").write_text("1")
    p.json("storage", "put", data, "--name", "datasets/one")
    job, seen = told(p, folder, *SMALL, "--epochs", "3", "--batch-size", "16", "--learning-rate",
                     "0.25", "--optimizer", "lion", "--mixed-precision", "bf16",
                     "--gradient-accumulation", "4", "--checkpoint-interval", "50", "--dataset",
                     "synor://datasets/one", "--env", "A=1", "--env", "B=two words", "--stop-grace",
                     "7s", "--name", "told")
    equal(seen["given"], {"epochs": 3, "batch_size": 16, "learning_rate": 0.25, "optimizer": "lion",
                          "mixed_precision": "bf16", "gradient_accumulation": 4,
                          "checkpoint_interval": 50, "mine": 7})
    equal(seen["dataset"], ["one"])
    equal((seen["env"]["A"], seen["env"]["B"]), ("1", "two words"))
    equal(seen["env"]["SYNOR_STOP_GRACE_MS"], "7000")
    equal(job["name"], "told")
    _, seen = told(p, folder, *SMALL)
    equal(seen["given"], {"epochs": 1, "mine": 7}, "nothing is told that was not asked for")
    equal(seen["dataset"], [])


@case
def every_way_to_share_the_work(p):
    folder = job_folder(p.home, TELLS, entry="tells.py")
    for kind in ("ddp", "fsdp", "zero1", "zero2", "zero3", "pipeline", "model"):
        _, seen = told(p, folder, *QUICK, "--distributed", kind)
        equal(seen["given"], {"distributed": kind})
    _, seen = told(p, folder, *QUICK, "--workers", "2")
    equal(seen["given"], {"distributed": "ddp"})
    equal((seen["env"]["WORLD_SIZE"], seen["env"]["RANK"]), ("2", "0"))
    p.cli(*base(folder, "--distributed", "magic", "--plan"), code=2)


@case
def a_framework_must_be_there(p):
    folder = job_folder(p.home, "print('hello')\n", entry="job.py")
    shell = job_folder(p.home, "#!/bin/sh\n")
    has = p.wait_node()["status"]["frameworks"]
    for name, package in (("pytorch", "torch"), ("tensorflow", "tensorflow"), ("jax", "jax")):
        real = subprocess.run(["/usr/bin/python3", "-c", f"import {package}"], check=False,
                              capture_output=True, cwd="/").returncode == 0
        equal(name in has, real, "the node's word on", name, has)
    for name in ("pytorch", "tensorflow", "jax", "onnx"):
        if name in has:
            equal(plan(p, folder, framework=name)["placeable"], True)
            if has[name]:
                major = has[name].split(".")[0]
                equal(plan(p, folder, framework=f"{name}:{major}")["placeable"], True)
        else:
            equal(plan(p, folder, framework=name, code=3)["placeable"], False)
            explained = waits(p, folder, "no-framework", framework=name)
            text = json.dumps(explained["fix"])
            check("install" in text and "--image" in text, "no way to get it:", explained)
        wrong = plan(p, folder, framework=f"{name}:99", code=3)
        check(any(row["dimension"] == "framework" and "99" in str(row["need"])
                  for row in wrong["why"]), wrong)
        # A program that the framework's Python does not run does not need it on the node.
        equal(plan(p, shell, framework=name)["placeable"], True)
    equal(plan(p, folder)["placeable"], True, "custom needs none")
    p.cli(*base(folder, "--plan", framework="caffe"), code=2)


@case
def a_refusal_names_the_option(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    for option, value in (("--gpus", "-1"), ("--memory", "1"), ("--cpus", "0"), ("--optimizer", ""),
                          ("--max-gpus", "0"), ("--learning-rate", "-1"), ("--learning-rate", "x"),
                          ("--dataset", "nowhere"), ("--max-budget", "0")):
        said = p.cli(*base(folder, "--gpus", "1", option, value, "--plan"), code=2)
        check(f"{option}: " in said.err and "spec." not in said.err, said)


@case
def an_image_is_looked_up(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    said = p.error(*base(folder, "--image", "synor://no/such", "--yes"), code=None)
    check("no/such" in said["message"], said)
    p.cli(*base(folder, "--image", "docker://debian", "--yes"), code=2)
    said = p.error(*base(folder, "--image", "127.0.0.1:1/debian", "--yes"))
    equal(said["code"], "unavailable", said)
    said = p.error(*base(folder, "--image", "127.0.0.1:1/debian", "--auth-file", folder / "none",
                         "--yes"))
    equal(said["code"], "not-found", said)


@case
def what_gpus_must_be(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    cards = sum(g["count"] for g in p.wait_node()["status"]["capacity"]["gpus"])
    many = str(cards + 1)
    for options, words in (
            (("--gpus", many), (f"{many} GPU",)),
            (("--gpus", many, "--gpu-type", "h100"), ("x h100",)),
            (("--gpus", many, "--min-vram", "80gb"), ("80 G",)),
            (("--gpus", many, "--max-gpus", "64"), (f"{many} GPU",))):
        said = plan(p, folder, *options, code=3)
        text = json.dumps(said)
        check(all(word in text for word in words), words, said)
        check(p.wait_node()["id"] in text, "no node is named:", said)
    # As many as are free, up to --max-gpus: without any there are none.
    equal(plan(p, folder, "--gpus", "0", "--max-gpus", "64")["gpus"], min(cards, 64))
    for wrong in (("--gpu-type", "h100"), ("--min-vram", "8gb"), ("--gpus", "2", "--max-gpus", "1"),
                  ("--gpus", "-1"), ("--gpus", "1000")):
        p.cli(*base(folder, *wrong, "--plan"), code=2)


def machine_times():
    """Ticks of all processors together, and those of them that nobody used."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return sum(ticks), ticks[3]


@case
def shares_of_the_machine(p):
    folder = job_folder(p.home, BUSY, entry="busy.py")
    before = machine_times()
    job = p.json(*base(folder, "--cpus", "0.25", "--memory", "128mb", "--yes"))["id"]
    equal(p.wait_end(job)["status"]["state"], "succeeded", p.logs(job))
    total, idle = (now - then for now, then in zip(machine_times(), before))
    idle /= total
    # As metered from outside, where a sandbox's own clock does not count; with some air.
    bill = p.job(job)["status"]["bill"]
    samples = reports_of(p.api("GET", f"/v1/bills/{bill}/evidence"))
    wall = max(s["to_ms"] for s in samples) - min(s["from_ms"] for s in samples)
    used = sum(s["used"]["cpu_ms"] for s in samples)
    held = sum(s["used"].get("throttled_ms", 0) for s in samples)
    check(wall >= 3900, "it was to be busy for 4 s:", samples)
    check(0 < used / wall < 0.35, f"--cpus 0.25 gave it {used / wall:.2f} of a core")
    # What is busy while a processor idles is held back by its limit and by nothing else. Where
    # others leave it less than its limit it is not, and then it must not be said either.
    if idle > 0.25:
        check(used / wall > 0.05 and held / wall > 0.1, f"idle {idle:.2f}, held {held}", samples)
    explained = p.json("compute", "train", "explain", job)
    said = any("limit of 0.25 CPUs" in row["message"] for row in explained["why"])
    check(said if held / wall > 0.12 else not said or held / wall > 0.08, held, wall, explained)
    equal(any("--cpus 0.5" in fix for fix in explained["fix"]), said, explained)
    for option, value, word in (("--cpus", "4000", "insufficient-cpu"),
                                ("--memory", "900tb", "insufficient-memory"),
                                ("--scratch", "900tb", "insufficient-scratch")):
        explained = waits(p, folder, word, option, value)
        check(any(option in fix for fix in explained["fix"]), explained)


@case
def the_isolation_asked_for(p):
    folder = job_folder(p.home, "#!/bin/sh\nuname -r\n")
    ready = [box["name"] for box in p.wait_node()["status"]["sandboxes"] if box["state"] == "ready"]
    for kind in ("gvisor", "runc"):
        if kind not in ready:
            print(f"# no {kind} here")
            continue
        job = p.json(*base(folder, *SMALL, "--isolation", kind, "--yes"))["id"]
        equal(p.wait_end(job)["status"]["isolation"], kind)
        # gVisor is a kernel of its own.
        equal(os.uname().release in p.logs(job), kind == "runc", p.logs(job))


@case
def the_region_asked_for(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    here = p.wait_node()["spec"]["region"]
    equal(plan(p, folder, "--region", here)["placeable"], True)
    explained = waits(p, folder, "no-region", "--region", "elsewhere")
    check(any("--region" in fix for fix in explained["fix"]), explained)


@case
def the_labels_and_groups_asked_for(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    node = p.wait_node()["id"]
    explained = waits(p, folder, "no-label", "--label", "disk=ssd")
    check(any("--label" in fix for fix in explained["fix"]), explained)
    p.json("node", "label", node, "disk=ssd", "--zone", "west")
    equal(p.json("node", "get", node)["spec"]["labels"],
          {"disk": "ssd", "synor.io/zone": "west"})
    job = p.json(*base(folder, *SMALL, "--label", "disk=ssd", "--label", "synor.io/zone!=east",
                       "--yes"))
    equal(p.wait_end(job["id"])["status"]["state"], "succeeded")
    equal(plan(p, folder, "--label", "disk!=ssd", code=3)["reason"], "no-label")
    explained = waits(p, folder, "affinity", "--affinity", "group=web:zone")
    check(any("--affinity" in fix for fix in explained["fix"]), explained)
    stays = job_folder(p.home, "#!/bin/sh\nsleep 600\n")
    first = p.json(*base(stays, *SMALL, "--group", "web", "--yes"))["id"]
    p.wait_state(first, "running")
    equal(plan(p, folder, "--affinity", "group=web:zone")["placeable"], True)
    equal(plan(p, folder, "--anti-affinity", "group=web", code=3)["reason"],
          "anti-affinity")
    p.json("compute", "train", "stop", first, "--yes")
    p.wait_end(first)
    equal(plan(p, folder, "--anti-affinity", "group=web")["placeable"], True)
    for options in (("--label", "a b"), ("--spread", "zone"), ("--affinity", "web"),
                    ("--affinity", "group=web:street"), ("--policy", "latency"),
                    ("--gpu-capability", "8.0"), ("--bandwidth", "fast")):
        p.cli(*base(folder, *options, "--plan"), code=2)


@case
def a_part_of_a_card(p):
    """No card here: it is refused by name, or waits, and says what for."""
    folder = job_folder(p.home, "#!/bin/sh\n")
    planned = plan(p, folder, "--gpu-share", "0.25", "--gpu-memory", "10gb", code=3)
    equal(planned["reason"], "no-gpu", planned)
    check("0.250 of one GPU" in planned["message"], planned)
    check("1g.10gb" in plan(p, folder, "--mig", "1g.10gb", code=3)["message"])
    for options in (("--gpu-share", "0"), ("--gpu-share", "1.5"), ("--gpu-memory", "10gb"),
                    ("--mig", "half"), ("--mig", "1g.10gb", "--gpu-share", "0.5"),
                    ("--gpu-share", "0.5", "--gpus", "2"),
                    ("--gpu-share", "0.5", "--workers", "2")):
        p.cli(*base(folder, *options, "--plan"), code=2)


@case
def the_bandwidth_asked_for(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    equal(p.wait_node()["status"]["capacity"]["bandwidth_bps"], 1000000000)
    equal(plan(p, folder, "--bandwidth", "1gbit")["placeable"], True)
    explained = waits(p, folder, "insufficient-bandwidth", "--bandwidth", "1.5gbit")
    check(any("--bandwidth 1000mbit" in fix for fix in explained["fix"]), explained)


@case
def the_distances_said(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    here = p.wait_node()["spec"]["region"]
    check(here, "the platform has a region")
    planned = plan(p, folder, "--policy", "latency", "--latency-to", "moon")
    equal(planned["placeable"], True, planned)
    check(any("moon" in note for note in planned["assumed"]), planned)
    equal(plan(p, folder, "--latency-to", "moon:2600", code=3)["reason"], "too-far")
    p.json("region", "latency", "set", here, "moon", "2560ms")
    planned = plan(p, folder, "--latency-to", "moon:2600")
    equal((planned["placeable"], planned["assumed"]), (True, []), planned)
    equal(plan(p, folder, "--latency-to", "moon:2000", code=3)["reason"], "too-far")
    equal([(row["rtt_us"], row["source"]) for row in p.json("region", "latency", "list")["items"]],
          [(2560000, "set")])
    p.json("region", "latency", "set", here, "moon", "measured")
    equal(plan(p, folder, "--latency-to", "moon:2600", code=3)["reason"], "too-far")


@case
def the_price_ceiling_and_the_policy(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    planned = plan(p, folder, "--max-price", "0.5", "--policy", "spread")
    equal((planned["placeable"], planned["max_price"]), (True, "0.5"), planned)
    explained = waits(p, folder, "too-dear", "--max-price", "0.001")
    check(any("--max-price" in fix for fix in explained["fix"]), explained)
    job = p.json(*base(folder, *SMALL, "--max-price", "0.50", "--policy", "price", "--yes"))
    equal((job["spec"]["max_price"], job["spec"]["policy"]), ("0.5", "price"), job["spec"])
    equal(p.wait_end(job["id"])["status"]["state"], "succeeded")
    for options in (("--max-price", "0"), ("--max-price", "-1"), ("--policy", "whim")):
        p.cli(*base(folder, *options, "--plan"), code=2)


@case
def the_terms_of_spot_work(p):
    """What becomes of them when others pay more: spot.py."""
    folder = job_folder(p.home, "#!/bin/sh\n")
    said = p.error(*base(folder, *SMALL, "--spot", "--yes"), code=2)
    check("max_price" in said["message"], said)
    p.cli(*base(folder, "--spot", "--max-price", "1", "--notice", "soon", "--plan"), code=2)
    job = p.json(*base(folder, *SMALL, "--spot", "--max-price", "1", "--notice", "10s", "--yes"))
    equal((job["spec"]["spot"], job["spec"]["notice_ms"]), (True, 10000), job["spec"])
    equal(p.wait_end(job["id"])["status"]["state"], "succeeded")


@case
def units_that_the_account_holds(p):
    """How they are bought, used and billed: daemon/reserved_test.c; here nobody has any."""
    folder = job_folder(p.home, "#!/bin/sh\n")
    one = p.json("market", "classes")["items"][0]["class"]
    planned = plan(p, folder, *SMALL, "--reserved", one, code=3)
    equal(planned["reason"], "no-units", planned)
    explained = waits(p, folder, "no-units", *SMALL, "--reserved", one)
    check(any("market buy" in fix for fix in explained["fix"]), explained)
    p.cli(*base(folder, "--reserved", "no such class", "--plan"), code=2)


@case
def the_more_important_goes_first(p):
    node = p.wait_node()["status"]["capacity"]
    all_cpus = ("--cpus", f"{node['cpu_millicores']}m", "--memory", "64mb", "--scratch", "32mb")
    # Nothing comes before it: it would give way.
    holder = p.json(*base(job_folder(p.home, "#!/bin/sh\nsleep 600\n"), *all_cpus,
                          "--priority", "1000", "--yes"))["id"]
    p.wait_state(holder, "running")
    folder = job_folder(p.home, "#!/bin/sh\nsleep 0.2\n")
    late = p.json(*base(folder, *all_cpus, "--priority", "100", "--yes"))["id"]
    middle = p.json(*base(folder, *all_cpus, "--yes"))["id"]
    first = p.json(*base(folder, *all_cpus, "--priority", "900", "--yes"))["id"]
    for job in (late, middle, first):
        equal(p.wait_state(job, "pending")["status"]["reason"] != "", True)
    p.cli("compute", "train", "stop", holder, "--grace", "1s", "--yes", "--wait")
    begun = []
    for job in (late, middle, first):
        begun.append((p.wait_end(job)["status"]["started_at"], job))
    equal([job for _, job in sorted(begun)], [first, middle, late])
    p.cli(*base(folder, "--priority", "1001", "--plan"), code=2)


@case
def limits_and_second_tries(p):
    slow = job_folder(p.home, "#!/bin/sh\nsleep 600\n")
    job = p.json(*base(slow, *SMALL, "--time-limit", "1s", "--stop-grace", "1s", "--yes"))["id"]
    equal(p.wait_end(job)["status"]["reason"], "time-limit")
    fails = job_folder(p.home, "#!/bin/sh\nexit 1\n")
    job = p.json(*base(fails, *SMALL, "--retries", "1", "--yes"))["id"]
    equal(p.wait_end(job)["status"]["attempt"], 2)


@case
def waiting_planning_and_asking(p):
    fails = job_folder(p.home, "#!/bin/sh\nexit 3\n")
    before = len(p.json("compute", "train", "list")["items"])
    plan(p, fails)
    equal(len(p.json("compute", "train", "list")["items"]), before, "--plan made a job")
    ended = p.json(*base(fails, *SMALL, "--wait", "--yes"), code=1)
    equal(ended["status"]["exit_code"], 3)
    started = time.monotonic()
    p.json(*base(job_folder(p.home, "#!/bin/sh\nsleep 2\n"), *SMALL, "--wait"))
    check(time.monotonic() - started >= 2, "--wait did not wait")
    said = p.error(*base(fails, "--yes")[:-3], "--max-budget", "100000", "--yes", code=4)
    equal(said["code"], "insufficient-funds")


run(Platform("--region", "here", "--bandwidth", "1gbit"))
