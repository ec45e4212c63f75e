#!/usr/bin/env python3
"""A node that uses a containerd which is there already (`--containerd SOCKET`): it is told what that
one lacks, runs a service by it, lives through its restart, and leaves alone what others run in it."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from harness import (CASES, SOURCE, SYNOR, Platform, Skip, case, check, equal, image_layout,
                     need_networks, run, wait_until)
from container import DEPLOY, need_containerd
from service import get, process_of, ready, wait_ready

CASES.clear()  # those of the others are not ours

SLEEPER = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
BESIDE = f"beside-{os.getpid()}"  # runc's state is one folder for all of the machine
IMAGE = "test.local/sleeper:1"  # holds pods open, and is what somebody else runs


class Containerd:
    """Somebody's containerd, configured by them; nothing of it is in the platform's folder."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="foreign-"))
        self.socket = self.dir / "sock"
        self.process = None
        (self.dir / "bin").mkdir()
        self.configure("")

    def configure(self, more):
        path = self.dir
        (path / "config.toml").write_text(f"""version = 2
root = "{path}/root"
state = "{path}/state"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{path}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{path}/bin"
conf_dir = "{path}/net.d"
{more}""")

    def start(self):
        # Of a restarted one the socket is there before it is.
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(["containerd", "-c", str(self.dir / "config.toml")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        wait_until("containerd answers", 60, lambda: self.ctr("version", code=None).returncode == 0)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ctr(self, *args, code=0):
        done = subprocess.run(["ctr", "-a", str(self.socket), "-n", "k8s.io", *map(str, args)],
                              capture_output=True, text=True, check=False)
        check(code is None or done.returncode == code, args, done.stdout, done.stderr)
        return done

    def containers(self):
        return set(self.ctr("containers", "ls", "-q").stdout.split())

    def clean(self):
        if BESIDE in self.containers():
            wait_until("its own container ends", 20, lambda: self.ctr(
                "tasks", "delete", "-f", BESIDE, code=None).returncode == 0)
            self.ctr("containers", "delete", BESIDE)
        self.process.terminate()
        self.process.wait(30)
        mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        for line in reversed(mounts):
            if line.split()[4].startswith(f"{self.dir}/"):
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def alive(self):
        """The pid of what somebody else runs here."""
        words = [line.split() for line in self.ctr("tasks", "ls").stdout.splitlines()]
        return next((int(w[1]) for w in words if w[0] == BESIDE and w[2] == "RUNNING"), 0)


def need(p, what):
    if not getattr(p, what, False):
        raise Skip(f"there is no {what}")


@case
def what_it_lacks_is_told(p):
    need_containerd()
    if shutil.which("ctr") is None:
        raise Skip("there is no ctr here")
    p.there = there = Containerd()
    p.options += ["--containerd", f"unix://{there.socket}"]
    p.start()
    wait_until("nobody is there", 20, lambda: "No such file" in p.log_tail())
    there.start()
    program = p.home / "sleeper"
    subprocess.run(["cc", "-static", "-O1", "-x", "c", "-", "-o", str(program)], check=True,
                   input=SLEEPER, text=True)
    image_layout(there.dir / "layout", program.read_bytes())
    subprocess.run(["tar", "-C", there.dir / "layout", "-cf", there.dir / "layout.tar", "."],
                   check=True)
    said = there.ctr("images", "import", "--index-name", IMAGE, there.dir / "layout.tar")
    check(IMAGE in said.stdout, said.stdout)
    there.ctr("run", "-d", "--net-host", IMAGE, BESIDE)
    p.beside = there.alive()
    check(p.beside, "it does not run")
    wait_until("the node says what is missing", 20,
               lambda: "synor runtime config containerd" in p.log_tail())
    equal(p.json("node", "list")["items"], [], "it has joined")


@case
def it_is_used_once_it_is_configured(p):
    need(p, "beside")
    said = subprocess.run([SYNOR, "runtime", "config", "containerd", "--data-dir", p.home,
                           "--config", p.there.dir / "config.toml"],
                          check=True, capture_output=True, text=True).stdout
    link = next(line.split() for line in said.splitlines() if "ln -s" in line)
    there = p.there
    equal(link[4], f"{there.dir}/bin/synor")
    there.configure(said)
    there.kill()
    there.start()
    wait_until("the link is missing", 20, lambda: "bin/synor is no program" in p.log_tail())
    (there.dir / "bin/synor").symlink_to(link[3])
    shutil.copy("/usr/lib/cni/loopback", there.dir / "bin/loopback") if os.path.exists(
        "/usr/lib/cni/loopback") else (there.dir / "bin/loopback").symlink_to(link[3])
    p.node = p.wait_node()
    boxes = {box["name"]: box for box in p.node["status"]["sandboxes"]}
    equal((boxes["runc"]["runtime"], boxes["runc"]["state"]), ("container", "ready"), boxes)
    check("1." in boxes["runc"]["version"], boxes)


@case
def a_service_runs_by_it_on_the_accounts_network(p):
    need(p, "node")
    built = subprocess.run([sys.executable, SOURCE / "examples/hello-service/build-image",
                            p.home / "layout"], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", p.home / "layout", "--name", "images/hello")
    need_networks(p)
    p.cli("compute", "service", "deploy", *DEPLOY, "--yes")
    wait_ready(p, 2)
    p.deployed = True
    for endpoint in ready(p):
        equal((endpoint["isolation"], endpoint["runtime"]), ("runc", "container"), endpoint)
        check(endpoint["address"].startswith("10."), endpoint)
        equal(get(endpoint)[0], 200)
    p.cli("compute", "service", "exec", "web", "--", "/hello", "has", "/hello")
    ours = p.there.containers() - {BESIDE}
    equal(len(ours), 4, "a pod and a program for each replica", ours)


@case
def its_end_and_its_return_are_lived_through(p):
    need(p, "deployed")
    before = {e["instance"]: process_of(e["instance"]) for e in ready(p)}
    check(len(before) == 2 and all(before.values()), before)  # nobody kills process 0
    p.there.kill()

    def box():
        return p.json("node", "list")["items"][0]["status"]["sandboxes"][0]
    wait_until("the node says so", 20, lambda: box()["state"] == "away")
    check("containerd-away" in p.log_tail(), p.log_tail())
    for endpoint in ready(p):
        equal(get(endpoint)[0], 200)
    p.there.start()
    wait_until("the node says so", 20, lambda: box()["state"] == "ready")
    equal({e["instance"]: process_of(e["instance"]) for e in ready(p)}, before)
    # What ends is replaced by it.
    victim, pid = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    wait_until("it is gone", 60, lambda: victim not in {e["instance"] for e in ready(p)}, 0.05)
    wait_ready(p, 2)


@case
def an_agent_that_was_killed_takes_over_what_is_its_own(p):
    need(p, "deployed")
    before = {e["instance"]: process_of(e["instance"]) for e in ready(p)}
    p.kill()
    p.start()
    wait_ready(p, 2)
    equal({e["instance"]: process_of(e["instance"]) for e in ready(p)}, before)
    equal(p.there.alive(), p.beside, "what another runs was touched")


@case
def nothing_of_ours_stays_and_all_of_theirs_does(p):
    need(p, "deployed")
    p.cli("compute", "service", "stop", "web", "--yes", "--wait")
    wait_until("the agent destroys what has ended", 60, lambda: not p.instance_folders())
    wait_until("no pod of ours is left", 20, lambda: p.there.containers() == {BESIDE})
    equal(p.there.alive(), p.beside)
    check(IMAGE in p.there.ctr("images", "ls", "-q").stdout.split(), "its image is gone")


class Beside(Platform):
    there = None

    def clean(self):
        try:
            super().clean()
        finally:
            if self.there is not None and self.there.process is not None:
                self.there.clean()


if __name__ == "__main__":
    run(Beside("--runtime", "container"))
