#!/usr/bin/env python3
"""What a job can reach: nothing of the host, of other jobs, or of the platform. Both sandboxes."""
import json
import os
import pathlib
import re
import socket
import threading

from harness import Skip, case, check, equal, job_folder, need_sandbox, run, wait_until

# Tries everything, and says "reached NAME" for what it gets at. Runs by the host's python.
PRY = r'''
import ctypes, os, socket, subprocess, sys
secret, home, port = sys.argv[1:4]
def attempt(name, act):
    try:
        got = act()
    except Exception as error:
        print("denied", name, type(error).__name__)
    else:
        print("reached" if got else "denied", name, str(got)[:80] if got else "")
def listing(path):
    return lambda: os.listdir(path)
def read(path):
    return lambda: open(path, "rb").read(64)
def write(path):
    def act():
        open(path, "wb").write(b"x")
        return True
    return act
def connect(address, family=socket.AF_INET):
    def act():
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(2)
            sock.connect(address)
            return True
    return act
libc = ctypes.CDLL(None, use_errno=True)
attempt("host-file", read(secret))
attempt("shadow", read("/etc/shadow"))
attempt("root-home", listing("/root"))
attempt("platform-home", listing(home))
attempt("credentials", read(home + "/credentials.json"))
attempt("node-key", read(home + "/agent/node.key"))
attempt("socket", connect(home + "/synor.sock", socket.AF_UNIX))
attempt("host-port", connect(("127.0.0.1", int(port))))
attempt("internet", connect(("192.0.2.1", 80)))
attempt("interfaces", lambda: [n for _, n in socket.if_nameindex() if n != "lo"])
attempt("write-usr", write("/usr/pried"))
attempt("write-etc", write("/etc/pried"))
attempt("write-code", write(os.environ["SYNOR_CODE_DIR"] + "/pried"))
attempt("write-dataset", write(os.environ["SYNOR_DATASET_DIR"] + "/pried"))
attempt("mount", lambda: libc.mount(b"none", b"/synor/scratch", b"tmpfs", 0, None) == 0)
attempt("chroot", lambda: libc.chroot(b"/synor/scratch") == 0)
attempt("hostname", lambda: libc.sethostname(b"pried", 5) == 0)
attempt("mknod", lambda: os.mknod("/synor/scratch/disk", 0o60600, os.makedev(8, 0)) is None)
attempt("kill-all", lambda: [p for p in os.listdir("/proc") if p.isdigit() and
                             b"synor" in open(f"/proc/{p}/cmdline", "rb").read() and
                             b"\0up\0" in open(f"/proc/{p}/cmdline", "rb").read()])
attempt("root", lambda: os.setuid(0) is None)
attempt("host-environment", lambda: os.environ.get("SCENARIO_SECRET"))
attempt("kernel-module", lambda: libc.syscall(175, 0, 0, 0) == 0)
attempt("disk", lambda: [d for d in os.listdir("/dev")
                         if d.startswith(("sd", "vd", "nvme", "loop", "kvm"))])
attempt("sysrq", write("/proc/sysrq-trigger"))
attempt("core-pattern", write("/proc/sys/kernel/core_pattern"))
attempt("other-jobs", lambda: [n for n in os.listdir("/synor") if n not in
        ("code", "dataset", "config", "checkpoints", "output", "scratch", "tmp")])
print("user", os.getuid(), "processes", len([p for p in os.listdir("/proc") if p.isdigit()]))
open(os.environ["SYNOR_SCRATCH_DIR"] + "/mine", "w").write("may")
open(os.environ["SYNOR_OUTPUT_DIR"] + "/mine", "w").write("may")
print("end of the list")
'''


def pry(p, sandbox):
    secret = p.home / "secret.txt"
    secret.write_text("the host's own")
    secret.chmod(0o644)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: _serve(listener), daemon=True).start()
    folder = job_folder(p.home, PRY, entry="pry.py",
                        args=[str(secret), str(p.home), str(listener.getsockname()[1])])
    other = p.create(job_folder(p.home, "#!/bin/sh\nsleep 600\n"), "--isolation", sandbox)["id"]
    p.wait_state(other, "running")
    job = p.create(folder, "--isolation", sandbox, framework="pytorch")["id"]
    done = p.wait_end(job)
    listener.close()
    p.cli("compute", "train", "stop", other, "--grace", "1s", "--yes")
    text = p.logs(job)
    equal(done["status"]["state"], "succeeded", text)
    equal(done["status"]["isolation"], sandbox)
    check("end of the list" in text, text)
    reached = re.findall(r"^reached .*$", text, re.M)
    # Root of its own user namespace is nobody outside; what that could reach is tried beside it.
    reached = [one for one in reached if not one.startswith("reached root ")]
    equal(reached, [], f"{sandbox}:")
    check(len(re.findall(r"^denied ", text, re.M)) >= 24, text)
    processes = int(re.search(r"processes (\d+)", text)[1])
    check(processes < 20, f"it sees {processes} processes:", text)
    check(not pathlib.Path("/usr/pried").exists() and not pathlib.Path("/etc/pried").exists())


def _serve(listener):
    try:
        while True:
            listener.accept()[0].close()
    except OSError:
        pass


@case
def gvisor(p):
    p.start()
    if "gvisor" not in need_sandbox(p):
        from harness import Skip
        raise Skip("gVisor does not work here")
    pry(p, "gvisor")


@case
def runc(p):
    if "runc" not in need_sandbox(p):
        from harness import Skip
        raise Skip("runc does not work here")
    pry(p, "runc")


BOMB = """
import os, time
n = 0
try:
    while n < 20000:
        n += 1
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
except OSError as error:
    print('stopped at', n, error, flush=True)
    os._exit(3)
"""


@case
def a_fork_bomb_stays_within(p):
    for sandbox in need_sandbox(p):
        job = p.create(job_folder(p.home, BOMB, entry="bomb.py"), "--stop-grace", "1s",
                       "--time-limit", "150s", "--memory", "256mb", "--isolation", sandbox)["id"]
        done = p.wait_end(job)
        equal(done["status"]["state"], "failed", p.logs(job))
        check(done["status"]["reason"] in ("pids-limit", "oom-killed"), done["status"])


# Threads count as processes do, and take little memory: this limit is the first that it meets.
THREADS = """
import threading, time
for n in range(20000):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""


@case
def too_many_processes_are_named(p):
    if "runc" not in need_sandbox(p):
        raise Skip("gVisor ends as a whole when it has no thread left")
    job = p.create(job_folder(p.home, THREADS, entry="threads.py"), "--memory", "1gb",
                   "--isolation", "runc")["id"]
    done = p.wait_end(job)
    equal(done["status"]["reason"], "pids-limit", p.logs(job))
    check("can't start new thread" in p.logs(job), p.logs(job))
    told = p.json("compute", "train", "explain", job)
    check(any("processes" in row["message"] for row in told["why"]), told)
    check("start fewer worker processes" in told["fix"], told)


@case
def links_out_of_the_source_lead_nowhere(p):
    folder = job_folder(p.home, "#!/bin/sh\ncat evil evil-dir/shadow && echo leaked\nexit 0\n")
    (folder / "evil").symlink_to("/etc/shadow")
    (folder / "evil-dir").symlink_to("/etc")
    (folder / "model.yaml").write_text('{"name": "job", "entry": "job.sh"}')
    job = p.create(folder)["id"]
    p.wait_end(job)
    check("leaked" not in p.logs(job) and "root:" not in p.logs(job), p.logs(job))


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M))


@case
def the_platform_keeps_no_power_that_it_does_not_use(p):
    """Nor passes it on; and a shell's strict umask shuts no job out of its own folders."""
    p.stop()
    before = os.umask(0o077)
    try:
        p.start()
    finally:
        os.umask(before)
    for sandbox in need_sandbox(p):
        folder = job_folder(p.home, "#!/bin/sh\ntouch $SYNOR_OUTPUT_DIR/x $TMPDIR/x && echo wrote\n"
                            "sleep 600\n")
        job = p.create(folder, "--isolation", sandbox, "--workers", "2")["id"]
        wait_until("both write", 40, lambda: p.logs(job).count("wrote") == 2)
        pids = [p.process.pid]
        for instance in p.job(job)["status"]["instances"]:
            record = (p.home / "agent/instances" / instance / "shim.json").read_text()
            pids.append(json.loads(record)["pid"])
        for pid in pids:
            said = status_of(pid)
            for kind in ("CapPrm", "CapEff", "CapBnd"):
                for gone in (16, 17, 22, 25, 34):  # modules, raw I/O, reboot, clocks, kernel's log
                    equal(int(said[kind], 16) >> gone & 1, 0, kind, gone, said)
            equal((said["CapInh"], said["CapAmb"], said["NoNewPrivs"]), ("0" * 16, "0" * 16, "1"))
            equal(said["Umask"], "0022")
        p.cli("compute", "train", "stop", job, "--grace", "1s", "--yes")
        p.wait_end(job)


run()
