"""Drive the real `synor` from outside, and report as TAP.

A scenario file holds functions marked @case, in the order in which they run, and ends with run().
Each gets the file's one Platform: a private data folder and socket, a daemon of its own. What the
daemon starts is ended by the platform's own means; then nothing may be left of it: no process,
mount, loop device or cgroup. A case skips with a reason where the machine cannot run it.
"""
import contextlib
import http.client
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from decimal import Decimal

SYNOR = os.environ.get("SYNOR_BINARY") or str(
    pathlib.Path(__file__).resolve().parents[2] / "build" / "synor")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
# Ten times and more what a step takes on two busy cores. No wait ends sooner than LEAST_S, however few
# seconds are said: it ends with what it waits for, and a machine that others use is slow.
READY_S, COMMAND_S, JOB_S, LEAST_S = 60, 180, 180, 60
TERMINAL = ("succeeded", "failed", "stopped")


class Skip(Exception):
    """This machine cannot run the case; the text says why."""


class Result:
    """What one command said."""

    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        return (f"{' '.join(map(str, self.args))}\nexit {self.code}\n"
                f"{self.out[-3000:]}{self.err[-3000:]}")

    @property
    def json(self):
        return json.loads(self.out)


def check(condition, *said):
    """An assertion that stays under python -O and shows what was seen."""
    if not condition:
        raise AssertionError(" ".join(str(part) for part in said) or "condition does not hold")


def equal(got, want, *said):
    check(got == want, *said, f"got {got!r}, want {want!r}")


def wait_until(what, seconds, look, pause=0.1):
    """Call look() until it gives something true, and return that."""
    seconds = max(seconds, LEAST_S)
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        check(time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen: {seen!r}")
        time.sleep(pause)


def connected(port):
    """A connection to the gateway of functions: a process of its own, which comes a moment after its
    server."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def reached():
        try:
            link.connect()
        except ConnectionRefusedError:
            return False
        return True
    wait_until("the gateway listens", 20, reached, 0.01)
    return link


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Ended(BaseException):
    """Somebody ends this program; no case catches it."""


def end(*_):
    raise Ended


class Platform:
    """One `synor up` (or `server`, or `agent`) with a home of its own."""

    all = []

    def __init__(self, *options, command="up", home=None):
        self.options, self.command = list(options), command
        if os.environ.get("SYNOR_TEST_RUNTIME") and command != "server":
            self.options += ["--runtime", os.environ["SYNOR_TEST_RUNTIME"]]
        self.home = pathlib.Path(home or tempfile.mkdtemp(prefix="synor-scenario-"))
        self.process = None
        self.log = self.home.with_name(self.home.name + ".log")
        Platform.all.append(self)

    # --- life ---

    def launch(self):
        """Start it in the foreground, as a child."""
        check(self.process is None, "it runs already")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [SYNOR, self.command, "--quiet", "--data-dir", str(self.home), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())

    def start(self):
        """Launch it; return when its socket answers."""
        self.launch()
        if self.command != "agent":
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            check(self.process.poll() is None, "the daemon ended:", self.log_tail())
            try:
                return self.http("GET", "/v1/status")[0] == 200
            except OSError:
                return False
        wait_until("the daemon answers", READY_S, ready, 0.01)

    def wait_node(self):
        """At least one node is ready; the node's document."""
        def ready():
            nodes = self.json("node", "list")["items"]
            return next((n for n in nodes if n["status"]["state"] == "ready"), None)
        return wait_until("a node is ready", READY_S, ready)

    def kill(self):
        """kill -9 of the daemon, and of nothing else."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """SIGTERM, as `synor down` and service managers send."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=LEAST_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            code, self.process = self.process.returncode, None
        equal(code, 0, "exit status of the stopped daemon;", self.log_tail())

    def log_tail(self):
        try:
            return self.log.read_text(errors="replace")[-3000:]
        except OSError:
            return ""

    # --- speaking to it ---

    def environment(self):
        plain = {k: v for k, v in os.environ.items() if not k.startswith("SYNOR_")}
        return {**plain, "SYNOR_HOME": str(self.home), "LC_ALL": "C.UTF-8"}

    def cli(self, *args, code=0, stdin=None, timeout=COMMAND_S, env=None, cwd=None):
        """Run a command; its exit status must be `code` (None: any)."""
        args = [SYNOR, *map(str, args)]
        try:
            done = subprocess.run(args, input=stdin, capture_output=True, text=True, cwd=cwd,
                                  timeout=timeout, errors="replace",
                                  env={**self.environment(), **(env or {})},
                                  stdin=None if stdin is not None else subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done within {timeout} s: {args}") from None
        result = Result(args, done.returncode, done.stdout, done.stderr)
        check(done.returncode >= 0, "killed by a signal:", result)
        check(code is None or done.returncode == code, f"want exit status {code}:", result)
        return result

    def spawn(self, *args, **more):
        """A command that goes on beside us."""
        return subprocess.Popen([SYNOR, *map(str, args)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env=self.environment(), **more)

    def json(self, *args, code=0, **more):
        """Run a command with --json; what it printed must be one JSON document."""
        result = self.cli(*args, "--json", code=code, **more)
        try:
            return result.json
        except json.JSONDecodeError as error:
            raise AssertionError(f"no JSON ({error}): {result}") from None

    def error(self, *args, code=1, **more):
        """A command that must fail; its error document."""
        said = self.json(*args, code=code, **more)
        check(said.get("code") and said.get("message"), "no error document:", said)
        return said

    def http(self, method, path, body=None, headers=None, timeout=30):
        """(status, headers, bytes) over the Unix socket, where we are the operator."""
        connection = UnixConnection(str(self.home / "synor.sock"), timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            try:
                connection.request(method, path, body, headers or {})
            except BrokenPipeError:
                pass  # it answered without reading to the end, and closed
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, want=200, **more):
        status, _, text = self.http(method, path, body, **more)
        equal(status, want, method, path, text[:2000], "status")
        return json.loads(text) if text else None

    # --- jobs ---

    def create(self, folder, *options, budget="1", name=None, code=0, framework="custom"):
        """Create a job from a folder with model.yaml; its document (or error)."""
        args = ["compute", "train", "create", "--framework", framework, "--model-config",
                pathlib.Path(folder) / "model.yaml", "--gpus", "0", "--max-budget", budget, "--yes"]
        if name:
            args += ["--name", name]
        return self.json(*args, *options, code=code)

    def job(self, job):
        return self.json("compute", "train", "get", job)

    def wait_state(self, job, *states, seconds=JOB_S):
        """The job's document, once it is in one of the states."""
        def look():
            seen = self.job(job)
            state = seen["status"]["state"]
            check(state in states or state not in TERMINAL, f"{job} ended as",
                  json.dumps(seen["status"], indent=1), self.logs(job)[-2000:])
            return seen if state in states else None
        return wait_until(f"{job} is {' or '.join(states)}", seconds, look)

    def wait_end(self, job, seconds=JOB_S):
        return self.wait_state(job, *TERMINAL, seconds=seconds)

    def logs(self, job, *options):
        return self.cli("compute", "train", "logs", job, *options).out

    def events(self, job):
        return self.json("compute", "train", "events", job)["items"]

    def agreed_bill(self, job):
        """The settled bill of a job that ended; evidence and ledger must agree with it."""
        bill = self.job(job)["status"]["bill"]
        check(bill, f"{job} has no bill")
        verdict = self.json("bill", "verify", bill)
        check(verdict["agrees"] and not verdict["differences"], json.dumps(verdict, indent=1))
        check(verdict["signatures_ok"], verdict)
        said = self.json("bill", "show", bill)
        equal(said["status"]["state"], "settled")
        return said

    # --- the end ---

    def clean(self):
        """End every job and the daemon by the platform's own means, then look for leftovers."""
        try:
            if self.command == "up":
                self.end_jobs()
            self.stop()
            left = wait_until_empty(self.leftovers)
            check(not left, "left behind:\n  " + "\n  ".join(left))
        finally:
            self.sweep()

    def end_jobs(self):
        if self.process is None:
            if not (self.home / "server").exists():
                return
            self.start()
        for job in self.json("compute", "train", "list")["items"]:
            if job["status"]["state"] not in TERMINAL:
                self.cli("compute", "train", "stop", job["id"], "--grace", "1s", "--yes", code=None)
        for job in self.json("compute", "train", "list")["items"]:
            self.wait_end(job["id"])
        for service in self.json("compute", "service", "list")["items"]:
            if service["status"]["state"] != "stopped":
                self.cli("compute", "service", "stop", service["id"], "--yes", "--wait", code=None)
        wait_until("the agent destroys what has ended", 30,
                   lambda: not self.instance_folders())

    def taken_sandboxes(self):
        """Names of those that were made ahead, by the instance that took them."""
        found = {}
        for path in self.home.glob("agent/jobs/*/run"):
            with contextlib.suppress(FileNotFoundError):
                found[path.parent.name] = path.read_text()
        return found

    def sandboxes(self):
        """Those made ahead that instances took, and those that wait or are being made."""
        there = {path.name for path in (self.home / "agent" / "spares").iterdir()}
        taken = set(self.taken_sandboxes().values())
        return there & taken, there - taken

    def instance_folders(self):
        """Of instances that are there, also those in sandboxes that were made ahead."""
        spares = self.home / "agent" / "spares"
        return [path.name for path in self.home.glob("agent/instances/*")] + [
            instance for instance, name in self.taken_sandboxes().items() if (spares / name).exists()]

    def processes(self):
        """Processes with our home on the command line or as SYNOR_HOME, without the daemon."""
        found = []
        mine = {os.getpid(), self.process.pid if self.process else 0}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in mine:
                continue
            try:
                line, around = ((entry / name).read_bytes().replace(b"\0", b" ").decode(
                    errors="replace") for name in ("cmdline", "environ"))
            except OSError:
                continue
            if str(self.home) in line or f"SYNOR_HOME={self.home} " in around:
                found.append((int(entry.name), line))
        return found

    def leftovers(self):
        left = [f"process {pid}: {line[:150]}" for pid, line in self.processes()]
        home = str(self.home)
        mounts = pathlib.Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        # A probe of the sandboxes that the end of the last daemon cut off leaves its scratch behind:
        # the next one would sweep it, and ours there is none.
        left += [f"mount: {line}" for line in mounts
                 if home + "/" in line and "/runtime/probe-" not in line]
        for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                file = backing.read_text().strip()
            except OSError:
                continue
            if file.startswith(home + "/") and "/runtime/probe-" not in file:
                left.append(f"loop device {backing.parents[1].name}: {file}")
        instances = [name for name in self.seen_instances() if name]
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            left += [f"cgroup {folder}/{name}" for name in names
                     if any(instance in name for instance in instances)]
        for netns in pathlib.Path("/run/netns").glob("*"):
            if any(instance in netns.name for instance in instances):
                left.append(f"network namespace {netns}")
        return left

    def seen_instances(self):
        """Ids of all instances there ever were; they do not repeat across platforms."""
        if not hasattr(self, "instances"):
            self.instances = set()
        if self.process is not None and self.command == "up":
            for job in self.json("compute", "train", "list")["items"]:
                self.instances.update(job["status"].get("instances") or [])
            for service in self.json("compute", "service", "list")["items"]:
                self.instances.update(one["instance"] for one in service["status"]["endpoints"])
        return self.instances

    def sweep(self):
        """Take away by force what a failed scenario left, so that it harms nobody else."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for pid, _ in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        mounts = pathlib.Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        for line in reversed(mounts):
            point = line.split()[4]
            if point.startswith(str(self.home) + "/"):
                subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)
        self.log.unlink(missing_ok=True)


def wait_until_empty(look, seconds=LEAST_S):
    """Look until there is nothing; else what is still there."""
    deadline = time.monotonic() + seconds
    left = look()
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = look()
    return left


# --- jobs to try things with ---


def job_folder(parent, script, entry="job.sh", **model):
    """A folder with model.yaml and one program."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix="job-"))
    (folder / entry).write_text(script)
    (folder / entry).chmod(0o755)
    described = {"name": "job", "source": ".", "entry": entry, "include": [entry], **model}
    # JSON is YAML.
    (folder / "model.yaml").write_text(json.dumps(described))
    return folder


# Counts to $1 in its checkpoint folder, one step in 0.5 s, saves and leaves when asked to stop. With $2
# it counts until then, however late it is asked, and $1 steps more when it goes on.
COUNTER = """#!/bin/sh
step=0 last=${1:-20}
[ -z "$2" ] || last=1000000
if [ -r "$SYNOR_CHECKPOINT_DIR/step" ]; then
    step=$(cat "$SYNOR_CHECKPOINT_DIR/step") && echo "from $step"
    [ -z "$2" ] || last=$((step + $1))
fi
trap 'stop=yes' TERM
while [ $step -lt $last ]; do
    sleep 0.5 & wait $!
    [ -z "$stop" ] || { echo "asked to stop at $step"; exit 0; }
    step=$((step + 1))
    echo $step >"$SYNOR_CHECKPOINT_DIR/.step"
    mv "$SYNOR_CHECKPOINT_DIR/.step" "$SYNOR_CHECKPOINT_DIR/step"
    echo "{\\"step\\": $step, \\"loss\\": 0.$step}" >>"$SYNOR_PROGRESS"
    echo "step $step"
done
echo done >"$SYNOR_OUTPUT_DIR/result"
"""


def static_program(platform, source):
    """A program that needs nothing but a kernel, from a C file beside this one: its bytes."""
    if shutil.which("cc") is None:
        raise Skip("needs a C compiler")
    program = platform.home.with_name(platform.home.name + "-program")
    built = subprocess.run(["cc", "-static", "-O1", "-D_GNU_SOURCE", "-o", program,
                            pathlib.Path(__file__).with_name(source)],
                           capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    text = program.read_bytes()
    program.unlink()
    return text


def image_layout(folder, text, layer=None):
    """An image layout whose one layer is a file with this text, or these bytes, or `layer`, which
    has a /hello."""
    path = str(SOURCE / "examples/hello-service/build-image")
    loader = importlib.machinery.SourceFileLoader("build_image", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("build_image", loader))
    loader.exec_module(module)
    module.program = lambda: text if isinstance(text, bytes) else text.encode()
    if layer is not None:
        module.layer = lambda name, data: layer
    module.build(folder)


def steps_in(text):
    return [int(n) for n in re.findall(r"^step (\d+)$", text, re.M)]


def went_on(text, more):
    """What gave way went on once, from what it had saved, `more` steps; none was lost or done twice."""
    begun = [int(n) for n in re.findall(r"^from (\d+)$", text, re.M)]
    equal(len(begun), 1, "it was to go on once;", text)
    equal(steps_in(text), list(range(1, begun[0] + more + 1)), "steps of what gave way;")


def reports_of(evidence):
    """Every signed sample in the evidence, wherever it stands."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            if "from_ms" in value and "to_ms" in value:
                found.append(value)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)
    walk(evidence)
    return found


# --- money ---


def balance(p, account):
    return Decimal(p.json("account", "balance", account)["status"]["balance"])


def all_accounts(p):
    return p.json("account", "list")["items"]


def conserved(p):
    """Every transaction sums to zero, and so do all balances, mint and escrows included."""
    sums, seen = {}, set()
    for account in all_accounts(p):
        for one in p.json("account", "history", account["id"])["items"]:
            if one["id"] in seen:
                continue
            seen.add(one["id"])
            equal(sum(Decimal(e["amount"]) for e in one["entries"]), 0, one)
            for entry in one["entries"]:
                sums[entry["account"]] = sums.get(entry["account"], 0) + Decimal(entry["amount"])
    check(seen, "no transactions")
    for account in all_accounts(p):
        equal(Decimal(account["status"]["balance"]), sums.get(account["id"], 0), account["name"])
    equal(sum(sums.values()), 0, sums)
    return seen


# --- TAP ---

CASES = []


def case(function):
    CASES.append(function)
    return function


def need_sandbox(platform):
    """Skip unless the node has a sandbox that works."""
    if os.getuid() != 0:
        raise Skip("needs root: sandboxes, cgroups and mounts")
    node = platform.wait_node()
    works = [s["name"] for s in node["status"]["sandboxes"]
             if s["state"] in ("ready", "works", "ok")]
    if not works:
        raise Skip(f"no sandbox works here: {json.dumps(node['status']['sandboxes'])}")
    return works


def need_networks(platform):
    """Skip unless the node has networks for instances, without which no service is placed there."""
    networks = platform.wait_node()["status"]["networks"]
    if networks["state"] != "ready":
        raise Skip(f"no network for instances here: {networks['message']}")


def report(number, name, function):
    """Run one case; True unless it failed."""
    started = time.monotonic()
    try:
        function()
    except Skip as why:
        print(f"ok {number} - {name} # SKIP {why}", flush=True)
        return True
    except Exception as error:  # whatever it is, the next case still runs
        print(f"not ok {number} - {name}", flush=True)
        shown = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        place = [f for f in traceback.extract_tb(error.__traceback__)
                 if "harness" not in f.filename]
        for line in [f"{f.filename}:{f.lineno}" for f in place[-1:]] + shown.splitlines():
            print(f"# {line}", flush=True)
        return False
    print(f"ok {number} - {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def run(platform=None):
    """Run the cases of this file on `platform`, then its clean-up, and exit."""
    print("TAP version 13")
    if not os.access(SYNOR, os.X_OK):
        print(f"1..0 # SKIP {SYNOR} is not built")
        sys.exit(0)
    if os.environ.get("SYNOR_TEST_RUNTIME") == "container" and shutil.which("containerd") is None:
        print("1..0 # SKIP there is no containerd here")
        sys.exit(0)
    wanted = sys.argv[1:]
    cases = [c for c in CASES if not wanted or c.__name__ in wanted]
    platform = platform or Platform()
    print(f"1..{len(cases) + 1}", flush=True)
    signal.signal(signal.SIGTERM, end)  # as the test runner does when it takes too long
    good = True
    try:
        for number, function in enumerate(cases, 1):
            name = function.__name__.replace("_", " ")
            good &= report(number, name, lambda: function(platform))
        good &= report(len(cases) + 1, "nothing is left behind", platform.clean)
    except Ended:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for each in Platform.all:
            each.sweep()
        sys.exit(128 + signal.SIGTERM)
    sys.exit(0 if good else 1)
