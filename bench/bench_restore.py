"""The least that going on from a snapshot can take here: gVisor's own commands, a host program and one
request, with nothing of the platform's around them.

As a program it saves the function, and for each line that it reads it says how many milliseconds one
more took; it wants a mount namespace of its own, as Bare gives it.
"""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HOSTS = pathlib.Path(__file__).resolve().parents[1] / "src" / "workload" / "function"
RENEW = pathlib.Path(os.environ.get("SYNOR", "build/synor")).resolve().parent / "src" / "workload" / "renew.node"
FETCHED = "/usr/local/lib/synor/runsc"  # by scripts/gvisor
KEEPER = FETCHED if os.access(FETCHED, os.X_OK) else "runsc"
FLAGS = ("--platform=systrap", "--overlay2=none", "--ignore-cgroups")
HOST, GUEST, PORT, WAIT_S = "10.254.213.1", "10.254.213.2", 8080, 60
PROGRAMS = {"python": ("python3", "host.py"), "node": ("node", "host.mjs")}


def run(*words):
    subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_until(true):
    until = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > until:
            raise SystemExit(f"not within {WAIT_S} s")
        time.sleep(0.0005)


class Saved:
    """A function of one file, saved as what it is when it has been loaded."""

    def __init__(self, language, file, source):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="synor-bench-bare-", dir="/var/tmp"))
        self.count = itertools.count()
        program, host = PROGRAMS[language]
        root = self.folder / "root"
        for name in ("usr", "etc", "proc", "dev", "tmp", "synor/code", "synor/scratch"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        shutil.copy(HOSTS / host, root / "synor" / host)
        if language == "node":
            shutil.copy(RENEW, root / "synor" / RENEW.name)
        (root / "synor" / "code" / file).write_bytes(source)
        self.words = [f"/usr/bin/{program}", f"/synor/{host}"]

    def bundle(self, name, netns=None):
        """A folder to start one from, with a scratch space of its own."""
        folder = self.folder / name
        (folder / "scratch").mkdir(parents=True)
        binds = [("/usr", "/usr", "ro"), ("/etc", "/etc", "ro"), (folder / "scratch", "/synor/scratch", "rw")]
        namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        network = {"type": "network", "path": f"/run/netns/{netns}"} if netns else {"type": "network"}
        (folder / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "root": {"path": str(self.folder / "root"), "readonly": True},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": self.words, "env": [
                "PATH=/usr/bin", f"PORT={PORT}", "SYNOR_SNAPSHOT=1", "SYNOR_HANDLER=main.handler",
                "SYNOR_CODE=/synor/code"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}] + [
                {"destination": there, "type": "bind", "source": str(here), "options": ["rbind", how]}
                for here, there, how in binds],
            "linux": {"namespaces": [*namespaces, network]}}))
        return folder

    def runsc(self, *words, network="none"):
        run(KEEPER, "--root", self.folder / "state", f"--network={network}", *FLAGS, *words)

    def save(self):
        folder = self.bundle("saved")
        self.runsc("run", "--detach", "--bundle", folder, "saved")
        wait_until((folder / "scratch" / ".snapshot-waits").exists)
        self.runsc("checkpoint", "--compression=none", "--image-path", self.folder / "image", "saved")
        with contextlib.suppress(subprocess.CalledProcessError):
            self.runsc("delete", "--force", "saved")

    def turn(self):
        """Milliseconds from a sandbox that waits to the first byte of the answer."""
        name = f"sybench{os.getpid()}-{next(self.count)}"
        folder = self.bundle(name, name)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", "sybench0", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", f"{HOST}/30", "dev", "sybench0")
        run("ip", "link", "set", "sybench0", "up")
        run("ip", "-n", name, "address", "add", f"{GUEST}/30", "dev", "eth0")
        for link in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", link, "up")
        self.runsc("create", "--bundle", folder, name, network="sandbox")
        try:
            time.sleep(0.5)
            (folder / "scratch" / ".snapshot-resume").write_text(json.dumps({"env": {}}))
            return self.measure(folder, name)
        finally:
            self.runsc("delete", "--force", name)
            run("ip", "link", "delete", "sybench0")
            run("ip", "netns", "delete", name)

    def measure(self, folder, name):
        begun = time.perf_counter()
        self.runsc("restore", "--detach", "--bundle", folder, "--image-path", self.folder / "image", name,
                   network="sandbox")
        while True:
            link = http.client.HTTPConnection(GUEST, PORT, timeout=WAIT_S)
            try:
                link.request("GET", "/")
            except ConnectionRefusedError:
                if time.perf_counter() - begun > WAIT_S:
                    raise
                time.sleep(0.002)
                continue
            answer = link.getresponse()
            took = (time.perf_counter() - begun) * 1000
            if (answer.read(), answer.status) != (b"hello", 200):
                raise SystemExit(f"restored alone: {answer.status}")
            return took

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Bare:
    """The program below, for as long as it is needed."""

    def __init__(self, language, file, source):
        # runsc takes what newer kernels show everywhere for the machine's own network.
        hidden = "mount -t tmpfs tmpfs /proc/sys/net && exec \"$@\""
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-c", hidden, "sh", sys.executable, __file__,
             language, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(source.decode())

    def ask(self, text):
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("bench_restore.py has ended")
        return float(line)

    def turn(self):
        return self.ask("")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def main():
    language, file = sys.argv[1:]
    saved = Saved(language, file, json.loads(sys.stdin.readline()).encode())
    try:
        saved.save()
        print(0, flush=True)
        for _ in sys.stdin:
            print(saved.turn(), flush=True)
    finally:
        saved.close()


if __name__ == "__main__":
    main()
