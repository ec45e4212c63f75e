#!/usr/bin/env python3
"""The scripts that people meet first and last: quickstart trains and shows the bill, uninstall leaves
nothing behind. They run in a checkout of their own, whose build is a link to the program under test
and whose setup has nothing to do."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from harness import (SOURCE, SYNOR, Platform, Skip, case, check, equal, job_folder, need_networks, need_sandbox, run,
                     wait_until_empty)

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
TRAIN_S = 600
CHECKOUT = pathlib.Path(tempfile.mkdtemp(prefix="synor-checkout-"))
OTHER = pathlib.Path(tempfile.mkdtemp(prefix="synor-other-"))


def checkout():
    """A checkout as after a build."""
    for name in ("scripts", "examples"):
        shutil.copytree(SOURCE / name, CHECKOUT / name, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
    (CHECKOUT / "scripts/setup").write_text("#!/bin/sh\n")
    (CHECKOUT / "build").mkdir(exist_ok=True)
    if not (CHECKOUT / "build/synor").exists():
        (CHECKOUT / "build/synor").symlink_to(pathlib.Path(SYNOR).resolve())


def script(p, name, *args, code=0, timeout=120):
    """Run a script of the checkout without a terminal; what it said on both outputs."""
    done = subprocess.run([CHECKOUT / "scripts" / name, *map(str, args)], cwd="/", timeout=timeout,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, env=p.environment(), check=False)
    equal(done.returncode, code, name, done.stdout[-3000:])
    return done.stdout


@case
def quickstart_goes_from_nothing_to_the_bill(p):
    checkout()
    p.home.rmdir()  # it makes its own
    torch = subprocess.run(["/usr/bin/python3", "-c", "import torch"], check=False,
                           capture_output=True, cwd="/").returncode == 0
    if os.getuid() != 0 or not DATA.is_dir() or not torch:
        script(p, "quickstart", code=1)
        raise Skip("needs root, dataset-fashion-mnist and python3-torch")
    said = script(p, "quickstart", "--epochs", "1", timeout=TRAIN_S)
    for words in ("$ synor up --detach", "$ synor storage put", "$ synor compute train create",
                  "succeeded", "The bill agrees", "bill show", "stop the platform",
                  "remove everything"):
        check(words in said, words, "is missing in:", said)
    jobs = p.json("compute", "train", "list")["items"]
    equal([job["status"]["state"] for job in jobs], ["succeeded"])
    check(jobs[0]["status"]["checkpoint"]["step"] > 0, jobs[0]["status"])
    p.agreed_bill(jobs[0]["id"])


@case
def uninstall_asks_first(p):
    if not p.home.is_dir():
        p.home.mkdir()
        p.cli("up", "--detach", "--data-dir", p.home)
    need_sandbox(p)
    job = p.create(job_folder(OTHER, "#!/bin/sh\nsleep 600\n"), "--isolation", "runc")["id"]
    p.wait_state(job, "running")
    p.seen = p.job(job)["status"]["instances"]
    check("no terminal to ask at" in script(p, "uninstall", code=1), "it did not ask")
    said = script(p, "uninstall", "--plan")
    check(str(p.home) in said and "what was built: build" in said, said)
    equal(p.job(job)["status"]["state"], "running", "a plan ended the job")


@case
def uninstall_takes_only_what_is_a_platforms(p):
    (OTHER / "precious").write_text("mine")
    said = script(p, "uninstall", "--yes", "--data-dir", OTHER, code=1)
    check("does not look like the platform's data" in said, said)
    equal((OTHER / "precious").read_text(), "mine")
    check((CHECKOUT / "build/synor").exists(), "a refusal removed what was built")


@case
def uninstall_leaves_nothing(p):
    if not hasattr(p, "seen"):
        raise Skip("no job ran")
    bystander = Platform().start()
    try:
        said = script(p, "uninstall", "--yes")
        # The job was asked to stop; not its processes were looked for.
        check("ending" not in said, said)
        check(not p.home.exists(), "the data is still there")
        check(not (CHECKOUT / "build").exists(), "what was built is still there")
        check(pathlib.Path(SYNOR).exists(), "it followed a link out of the checkout")
        p.instances = set(p.seen)
        left = wait_until_empty(p.leftovers)
        check(not left, "left behind:\n  " + "\n  ".join(left))
        equal(bystander.http("GET", "/v1/status")[0], 200, "another platform was ended")
        check("nothing to remove" in script(p, "uninstall", "--yes"), "it is not idempotent")
    finally:
        bystander.clean()


def networks(home):
    """What the kernel has of a platform's networks, by the tag of docs/networks.md."""
    tag = 2166136261
    for byte in str(home / "agent/net").encode():
        tag = (tag ^ byte) * 16777619 & 0xffffffff
    tag = f"{(tag >> 24 ^ tag) & 0xffffff:06x}"
    links = [path.name for path in pathlib.Path("/sys/class/net").glob(f"sy{tag}*")]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    return links + [line for line in tables.stdout.splitlines() if line.endswith(f"synor_{tag}")]


@case
def uninstall_sweeps_what_a_killed_platform_left(_):
    killed = Platform()
    try:
        killed.start()
        if "runc" not in need_sandbox(killed):
            raise Skip("needs runc")
        layout = killed.home / "layout"
        if subprocess.run([SOURCE / "examples/hello-service/build-image", layout], check=False,
                          capture_output=True).returncode != 0:
            raise Skip("no static program can be built")
        killed.json("storage", "put", layout, "--name", "images/hello")
        need_networks(killed)
        killed.cli("compute", "service", "deploy", "--name", "web", "--image",
                   "synor://images/hello", "--port", "8080", "--cpu", "0.1", "--memory", "64mb",
                   "--scratch", "16mb", "--isolation", "runc", "--yes", "--wait", code=None)
        seen = networks(killed.home)
        check(seen, "there is no network")
        killed.instances = {path.name for path in killed.home.glob("agent/instances/*")}
        killed.kill()
        equal(networks(killed.home), seen, "they ended with the daemon")
        said = script(killed, "uninstall", "--yes", "--data-dir", killed.home)
        check("ending" in said, said)
        equal(networks(killed.home), [])
        left = wait_until_empty(killed.leftovers)
        check(not left, "left behind:\n  " + "\n  ".join(left))
    finally:
        killed.sweep()


try:
    run()
finally:
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    shutil.rmtree(OTHER, ignore_errors=True)
