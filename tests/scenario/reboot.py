#!/usr/bin/env python3
"""A machine that loses its power, as far as that goes without losing ours.

The platform runs in a process and a mount namespace of its own, under a boot id of ours. Pulling the
plug is SIGKILL to the first process of the namespace: with it die the daemon, every supervisor and
every sandbox at once, and with them their mounts, network namespaces and loop devices; control
groups and what lies in /run are then removed, as nothing of them is there after a boot. The next
start is under another boot id."""
import os
import pathlib
import signal
import subprocess
import sys
import uuid

from harness import (COUNTER, LEAST_S, SOURCE, SYNOR, Platform, Skip, case, check, equal, job_folder,
                     need_networks, need_sandbox, reports_of, run, steps_in, wait_until,
                     wait_until_empty)

BOOT = "/proc/sys/kernel/random/boot_id"


class Machine(Platform):
    """A platform on a machine whose plug we can pull."""

    def __init__(self):
        super().__init__()
        self.boot = self.home / "boot-id"
        self.new_boot()

    def new_boot(self):
        self.boot.write_text(f"{uuid.uuid4()}\n")

    def launch(self):
        check(self.process is None, "it runs already")
        line = f"mount --bind {self.boot} {BOOT} && exec \"$@\""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                 line, "sh", SYNOR, "up", "--quiet", "--data-dir", str(self.home)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())

    def daemon(self):
        """The daemon's process id as we see it: the one child of unshare."""
        pid = self.process.pid
        return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def stop(self):
        if self.process is None:
            return
        os.kill(self.daemon(), signal.SIGTERM)
        code = self.process.wait(timeout=LEAST_S)
        self.process = None
        equal(code, 0, "exit status of the stopped daemon;", self.log_tail())

    def pull_the_plug(self, same_boot=False):
        """Everything that runs is gone at once; what lies on the disk stays."""
        instances = self.seen_instances()
        os.kill(self.daemon(), signal.SIGKILL)
        self.process.wait()
        self.process = None
        left = wait_until_empty(self.processes)
        check(not left, "these outlived a power loss:", left)
        for folder, names, _ in os.walk("/sys/fs/cgroup", topdown=False):
            for name in names:
                if any(one in f"{folder}/{name}" for one in instances):
                    wait_until(f"{name} is empty", 10, lambda at=f"{folder}/{name}": removed(at))
        for pinned in pathlib.Path("/run/netns").glob("*"):
            if any(one in pinned.name for one in instances):
                pinned.unlink()
        (self.home / "synor.sock").unlink(missing_ok=True)
        if not same_boot:
            self.new_boot()


def removed(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


# As many steps, once it has gone on; before, without end.
COUNTS = ["8", "until-asked"]


def went_on_from(text):
    """The step which it had saved and went on from, to the end: what it did after that it did again."""
    begun = [int(line.split()[1]) for line in text.splitlines() if line.startswith("from ")]
    equal(len(begun), 1, "it did not go on from a checkpoint:", text)
    equal(steps_in(text.split(f"from {begun[0]}\n")[1]), list(range(begun[0] + 1, begun[0] + 9)))
    return begun[0]


def step_of(p, job):
    return p.job(job)["status"]["progress"]["step"] or 0


def saved_step(p, job):
    return (p.job(job)["status"]["checkpoint"] or {}).get("step", 0)


def instance(p, name):
    return p.api("GET", f"/v1/instances/{name}")


@case
def jobs_go_on_from_their_last_checkpoint(p):
    if os.getuid() != 0:
        raise Skip("needs root: namespaces, sandboxes and mounts")
    p.start()
    need_sandbox(p)
    # What the machine is told to do before it loses its power: one that saves, one that does not,
    # two ranks, one that is done, and one that cannot be placed.
    done = p.create(job_folder(p.home, "#!/bin/sh\necho done\n"), name="done")["id"]
    p.wait_end(done)
    bill = p.agreed_bill(done)
    small = ("--memory", "256mb", "--cpus", "0.25")
    saver = p.create(job_folder(p.home, COUNTER, args=COUNTS), *small, name="saver")["id"]
    waiting = p.create(job_folder(p.home, "#!/bin/sh\n"), "--gpus", "8", name="waiting")["id"]
    # The first attempt, of run 1, has no end but the plug's.
    ranks = ("#!/bin/sh\ni=0 last=8\ncase $SYNOR_INSTANCE_ID in *-1-1-?) last=1000000 ;; esac\n"
             "while [ $i -lt $last ]; do\n  i=$((i + 1))\n  echo rank $RANK says $i\n  sleep 1\n"
             "  [ $RANK = 1 ] || echo \"{\\\"step\\\": $i}\" >>$SYNOR_PROGRESS\ndone\n")
    gang = p.create(job_folder(p.home, ranks), *small, "--workers", "2", name="gang")["id"]
    wait_until("the saver is saved", 60, lambda: saved_step(p, saver) >= 3)
    wait_until("the gang works", 60, lambda: step_of(p, gang) >= 2)
    before = {job: p.job(job)["status"] for job in (saver, gang)}
    p.pull_the_plug()
    p.start()
    # Both ranks and the saver are lost, and told to be so; nothing claims to run that does not.
    for job in (saver, gang):
        ended = p.wait_end(job, seconds=180)["status"]
        equal((ended["state"], ended["run"], ended["attempt"]), ("succeeded", 1, 2), ended)
        for lost in before[job]["instances"]:
            status = instance(p, lost)["status"]
            equal((status["state"], status["reason"]), ("lost", "node-rebooted"), status)
            check("restarted" in status["message"], status)
        check("node-lost" in [event["type"] for event in p.events(job)] or
              any("lost" in event["message"] for event in p.events(job)), p.events(job))
    text = p.logs(saver)
    check(went_on_from(text) >= before[saver]["checkpoint"]["step"], before[saver]["checkpoint"], text)
    for rank in (0, 1):
        said = p.logs(gang, "--rank", rank)
        check(said.endswith(f"rank {rank} says 8\n") and said.count(f"rank {rank} says 1\n") == 2,
              "not all ranks began anew:", said)
    equal(p.job(waiting)["status"]["reason"], "no-gpu")
    equal(p.job(done)["status"]["state"], "succeeded")
    equal(p.agreed_bill(done)["status"]["total"], bill["status"]["total"])


@case
def the_time_without_power_costs_nothing(p):
    for job in ("saver", "gang"):
        bill = p.agreed_bill(p.job(job)["id"])
        evidence = p.api("GET", f"/v1/bills/{bill['id']}/evidence")
        spans = sorted((r["from_ms"], r["to_ms"]) for r in reports_of(evidence))
        check(spans, "no samples:", evidence)
        check(all(begin < end for begin, end in spans), spans)
    told = p.json("compute", "train", "explain", "saver")
    check(told["why"], told)
    events = p.events("saver")
    lost = [event for event in events if "lost" in event["type"] or "lost" in event["message"] or
            "restart" in event["message"]]
    check(lost, "no event tells of the reboot:", events)
    check(any("checkpoint" in event["message"] for event in events), "nor of the checkpoint:", events)


@case
def what_was_being_stopped_is_not_started_again(p):
    deaf = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n"
    job = p.create(job_folder(p.home, deaf), "--stop-grace", "600s")["id"]
    p.wait_state(job, "running")
    p.cli("compute", "train", "stop", job, "--yes")
    p.wait_state(job, "stopping")
    p.pull_the_plug()
    p.start()
    ended = p.wait_end(job)["status"]
    equal((ended["state"], ended["reason"], ended["attempt"]), ("stopped", "user", 1), ended)
    p.agreed_bill(job)


def volume_of(p, service, but=None):
    """The volume as the node has it mounted, and the replica, `but` that one, that is ready with it."""
    def look():
        said = p.json("compute", "service", "get", service)["status"]["endpoints"]
        return next((e["instance"] for e in said if e["ready"] and e["instance"] != but), None)
    replica = wait_until(f"{service} is ready", 90, look, 0.1)
    volume = next((p.home / "agent/volumes").iterdir()).name
    # In the mount namespace of the machine.
    return pathlib.Path(f"/proc/{p.daemon()}/root{p.home}/agent/volumes/{volume}/data"), replica


@case
def what_was_synced_to_a_volume_is_there_after_it(p):
    need_sandbox(p)
    need_networks(p)
    built = subprocess.run([sys.executable, SOURCE / "examples/hello-service/build-image",
                            p.home / "layout"], capture_output=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", p.home / "layout", "--name", "images/hello")
    p.json("compute", "volume", "create", "kept", "--size", "16mb")
    p.json("compute", "service", "deploy", "--name", "keeps", "--image", "synor://images/hello",
           "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--port",
           8080, "--volume", "kept:/data", "--yes")
    folder, first = volume_of(p, "keeps")
    for round in (1, 2):
        # Synced is the first half; the second one may be lost, but not make anything else so.
        with open(folder / f"synced-{round}", "wb") as file:
            file.write(b"x" * 1000000)
            file.flush()
            os.fsync(file.fileno())
        with open(folder / f"loose-{round}", "wb") as file:
            file.write(b"y" * 1000000)
        p.pull_the_plug()
        p.start()
        folder, first = volume_of(p, "keeps", but=first)
        check(os.path.ismount(folder), "it is not mounted")
        for old in range(1, round + 1):
            equal((folder / f"synced-{old}").read_bytes(), b"x" * 1000000)
    # The same boot, and everything gone: the mount with it.
    p.pull_the_plug(same_boot=True)
    p.start()
    folder, _ = volume_of(p, "keeps", but=first)
    equal((folder / "synced-2").read_bytes(), b"x" * 1000000)
    p.json("compute", "service", "stop", "keeps", "--yes", "--wait")
    p.json("compute", "service", "delete", "keeps", "--yes")
    p.cli("compute", "volume", "rm", "kept", "--yes")


@case
def explain_tells_of_the_reboot_while_it_waits(p):
    job = p.create(job_folder(p.home, COUNTER, args=COUNTS))["id"]
    wait_until("it is saved", 60, lambda: saved_step(p, job) >= 2)
    p.json("node", "drain", p.wait_node()["id"], "--yes")
    p.pull_the_plug()
    p.start()
    seen = wait_until("it waits for a node", 60, lambda: p.job(job)["status"]["state"] == "pending"
                      and p.job(job)["status"])
    told = p.json("compute", "train", "explain", job)
    check("drain" in str(told["why"]) and "--off" in str(told["fix"]), told)
    check(seen["checkpoint"]["step"] >= 2, seen)
    p.json("node", "drain", "--off", p.json("node", "list")["items"][0]["id"], "--yes")
    p.wait_end(job)
    went_on_from(p.logs(job))
    p.agreed_bill(job)


@case
def supervisors_killed_without_a_reboot(p):
    job = p.create(job_folder(p.home, COUNTER, args=COUNTS))["id"]
    wait_until("it is saved", 60, lambda: saved_step(p, job) >= 2)
    lost = p.job(job)["status"]["instances"][0]
    p.pull_the_plug(same_boot=True)
    p.start()
    ended = p.wait_end(job)["status"]
    equal((ended["state"], ended["attempt"]), ("succeeded", 2), ended)
    status = instance(p, lost)["status"]
    equal((status["state"], status["reason"]), ("lost", "lost"), "no reboot is to be told:", status)
    p.agreed_bill(job)


@case
def nothing_is_left_on_the_machine(p):
    p.end_jobs()
    mounts = pathlib.Path(f"/proc/{p.daemon()}/mountinfo").read_text(errors="replace").splitlines()
    left = [line for line in mounts if f"{p.home}/agent/instances" in line]
    check(not left, left)


run(Machine())
