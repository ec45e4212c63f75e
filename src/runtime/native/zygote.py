"""A Python that has started already, and forks into sandboxes: zygote.c starts it and has the order.

It serves one account. What it is told of an instance it never reads itself: that stands in a file
which only the child opens, so nothing of one instance is in the memory that the next begins with.

    start    own mount namespace; a root with the node's /usr, a minimal /etc, and nothing else;
             modules that functions use; give up what it does not need; freeze memory
    fork     ahead of time, one child that is nobody's yet: into namespaces of its own, with /proc
             and loopback of theirs
    give     to that child, as root still: control groups, /tmp, code; then for good: the
             instance's own ids in a user namespace of its own, no capability, no new privileges,
             no descriptor, system calls by a filter; then the function
"""
import array
import ctypes
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import types

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP = 1, 4, 8, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
SECCOMP_MODE_FILTER = 2
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 5, 6, 7, 8
CAP_NET_ADMIN, CAP_SYS_CHROOT, CAP_SYS_ADMIN = 12, 18, 21
MOVE_MOUNT_F_EMPTY_PATH = 4
SYS_MOVE_MOUNT, SYS_PIDFD_OPEN = 429, 434
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
INSIDE_ID = 1000  # what the instance's processes are within
FDS_MAX = 16
DEVICES = ("null", "zero", "full", "random", "urandom")
ETC = ("passwd", "group", "hosts", "nsswitch.conf")  # our own
PRELOADED = ("asyncio", "base64", "collections", "concurrent.futures", "datetime", "decimal",
             "functools", "hashlib", "html", "http.client", "io", "itertools", "json", "logging",
             "math", "random", "re", "secrets", "string", "threading", "traceback", "typing",
             "urllib.parse", "urllib.request", "uuid")

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def must(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source, target, kind, flags, data=None):
    must(libc.mount(os.fsencode(source), os.fsencode(target), kind and kind.encode(),
                    ctypes.c_ulong(flags), data and data.encode()), f"mounting {target}")


def bind(source, target):
    mount(source, target, None, MS_BIND)
    mount(source, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def unshare(flags):
    must(libc.unshare(flags), "unshare")


def prctl(option, *values):
    must(libc.prctl(option, *[ctypes.c_ulong(value) for value in values + (0,) * (4 - len(values))]),
         f"prctl {option}")


def set_capabilities(capabilities):
    """These, and no others, can be used and are there."""
    bits = sum(1 << capability for capability in capabilities)
    low, high = bits & 0xffffffff, bits >> 32
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    must(libc.capset(header, data), "capset")


# --- start ----------------------------------------------------------------------------------------

def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def make_etc(image, etc):
    """The host image's /etc, which is shared and has no accounts, and ours."""
    for name in os.listdir(f"{image}/etc"):
        source, target = f"{image}/etc/{name}", f"{etc}/{name}"
        if name in ETC:
            continue
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            os.mkdir(target)
            bind(source, target)
        else:
            write(target, "")
            bind(source, target)
    write(f"{etc}/passwd", "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
          f"synor:x:{INSIDE_ID}:{INSIDE_ID}:synor:/tmp:/bin/sh\n"
          "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
    write(f"{etc}/group", f"root:x:0:\nsynor:x:{INSIDE_ID}:\nnogroup:x:65534:\n")
    write(f"{etc}/hosts", "127.0.0.1 localhost function\n::1 localhost\n")
    write(f"{etc}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")


def make_root(image, root):
    """Become blind for all but what instances may see; `root` is an empty folder."""
    os.umask(0)
    unshare(NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("synor", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in ("dev", "etc", "proc", "synor", "synor/code", "synor/layer", "tmp", "usr", "var"):
        os.mkdir(f"{root}/{name}", 0o755)
    for name in os.listdir(image):
        if os.path.islink(f"{image}/{name}"):
            os.symlink(os.readlink(f"{image}/{name}"), f"{root}/{name}")
    mount("/usr", f"{root}/usr", None, MS_BIND)
    mount("/usr", f"{root}/usr", None,
          MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    make_etc(image, f"{root}/etc")
    os.symlink("/tmp", f"{root}/var/tmp")
    for name in DEVICES:
        write(f"{root}/dev/{name}", "")
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    os.symlink("/tmp", f"{root}/dev/shm")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{root}/dev/{name}")
    mount("none", root, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    must(libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT), b".", b"."), "pivot_root")
    must(libc.umount2(b".", MNT_DETACH), "leaving the node's root")
    os.chdir("/")
    os.umask(0o022)


def as_module(name, source):
    module = types.ModuleType(name)
    module.__file__ = f"/synor/{name}.py"
    exec(compile(source, module.__file__, "exec"), module.__dict__)  # the platform's own program
    return module


def read_all(fd):
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb") as file:
        return file.read()


# --- an instance ----------------------------------------------------------------------------------

def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS, up


def furnish(names):
    """Other places for code than folders: it may be a file of its own."""
    mount("synor", "/synor", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=755")
    for name, folder in names:
        if folder:
            os.mkdir(f"/synor/{name}", 0o755)
        else:
            write(f"/synor/{name}", "")


def show(tree, path):
    """Attach a mount that zygote.c took of a folder, read-only, where the instance has it."""
    must(libc.syscall(ctypes.c_long(SYS_MOVE_MOUNT), ctypes.c_int(tree), b"", ctypes.c_int(-100),
                      path.encode(), ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH)), f"mounting {path}")
    os.close(tree)


def mount_proc():
    """Of its own processes, and, where the kernel can, nothing of the machine's."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    try:
        mount("proc", "/proc", "proc", flags, "subset=pid")
    except OSError:
        mount("proc", "/proc", "proc", flags)


def end_with(zygote):
    """The zygote's end, of which this is a descriptor, is this process's; also one that has been."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([zygote], [], [], 0)[0]:
        os._exit(125)


def become(uid, zygote):
    """The instance's own user, outside and within, with no power over anything."""
    os.setgroups([])
    prctl(PR_SET_KEEPCAPS, 1)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    set_capabilities((CAP_SYS_ADMIN,))  # some systems let nobody else make a user namespace
    prctl(PR_SET_DUMPABLE, 1)  # its own /proc/self is its own
    unshare(NEWUSER)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{INSIDE_ID} {uid} 1")
    write("/proc/self/gid_map", f"{INSIDE_ID} {uid} 1")
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # the kernel knows no more
    must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities")
    set_capabilities(())
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    end_with(zygote)  # which other ids have undone


class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def close_all_but(kept):
    last = 2
    for fd in sorted(kept) + [4096]:
        os.closerange(last + 1, fd)
        last = fd


def apart():
    """What the sandboxes of all instances have, and takes longest."""
    unshare(NEWNS | NEWUTS | NEWIPC | NEWNET)
    mount_proc()
    loopback_up()
    socket.sethostname("function")


def run(host, bpf, zygote, fds, begun):
    """Be this instance: complete its sandbox, then be the function. Returns its exit status."""
    config_fd, door_fd, log_fd, errors_fd, code, layer = fds[:6]
    os.dup2(log_fd, 1)
    os.dup2(errors_fd, 2)
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    for group in fds[6:]:
        os.write(group, b"0")
        os.close(group)
    config = json.loads(read_all(config_fd))
    unshare(NEWCGROUP)  # what its groups are called on the node is not its business
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV,
          f"size={config['scratch_bytes']},mode=1777,nr_inodes=100000")
    if config["code_is_file"]:
        furnish((("code", False), ("layer", True)))
    show(code, "/synor/code")
    if config["layer"]:
        show(layer, "/synor/layer")
    if config["code_is_file"]:
        mount("none", "/synor", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    become(config["uid"], zygote)
    os.environ.clear()
    os.environ.update(pair.split("=", 1) for pair in config["env"])
    door = socket.socket(fileno=door_fd)
    close_all_but([door_fd])
    program = Filter(len(bpf) // 8, ctypes.cast(bpf, ctypes.c_void_p))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
    host.main(begun, door)
    return 0


def child(host, bpf, zygote, link):
    status = 125
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end_with(zygote)
        apart()
        message, fds = receive(link)
        status = 0 if message is None else run(host, bpf, zygote, fds, time.monotonic())
    except BaseException:  # whatever it is, nothing of the zygote's runs on in the child
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


# --- the zygote -----------------------------------------------------------------------------------

def receive(control):
    """(message, descriptors); None at the end."""
    try:
        data, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_SPACE(FDS_MAX * 4))
    except ConnectionError:
        return None, []
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


def send(control, message, fds=()):
    control.sendmsg([json.dumps(message).encode()], [
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


class Zygote:
    def __init__(self, control, host, bpf):
        self.control, self.host, self.bpf = control, host, bpf
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.own = must(libc.syscall(SYS_PIDFD_OPEN, os.getpid(), 0), "pidfd_open")
        self.alive = set()
        self.spare = None  # (pid, link) of the child that is nobody's yet

    def fork(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        unshare(NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                # With a copy of these it would not hear of the zygote's end, nor would others.
                ours.close()
                self.control.close()
                child(self.host, self.bpf, self.own, theirs)
        finally:
            must(libc.setns(self.own_pids, NEWPID), "setns")
        theirs.close()
        return pid, ours

    def give(self, fds):
        """Make the spare child, or a new one where that has died, the instance."""
        for _ in range(2):
            pid, link = self.spare or self.fork()
            self.spare = None
            with link:
                try:
                    send(link, {}, fds)
                except ConnectionError:
                    continue
            self.alive.add(pid)
            return pid
        raise OSError("a child died before it was of use")

    def serve(self, fds):
        try:
            send(self.control, {"pid": self.give(fds)})
        except OSError as error:
            send(self.control, {"error": str(error)})
        for fd in fds:
            os.close(fd)

    def make_spare(self):
        try:
            self.spare = self.spare or self.fork()
        except OSError:
            pass  # the next order tries again, and tells

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.alive:
                self.alive.discard(pid)
                send(self.control, {"ended": pid, "status": status})

    def end(self):
        """Nothing outlives the zygote, and nobody else has to reap what it forked."""
        for pid in self.alive | ({self.spare[0]} if self.spare else set()):
            os.kill(pid, signal.SIGKILL)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass

    def loop(self):
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        gc.collect()
        gc.freeze()
        send(self.control, {"ready": os.getpid()})
        while True:
            self.make_spare()
            ready = dict(poll.poll())
            if woken in ready:
                os.read(woken, 4096)
                self.reap()
            if self.control.fileno() in ready:
                message, fds = receive(self.control)
                if message is None:
                    return
                self.serve(fds)


def main():
    control = socket.socket(fileno=3)
    order, (host_fd, filter_fd) = receive(control)
    bpf = ctypes.create_string_buffer(read_all(filter_fd))
    host = as_module("host", read_all(host_fd))
    for name in PRELOADED:
        importlib.import_module(name)
    zygote = Zygote(control, host, bpf)
    make_root(order["image"], order["root"])
    # Who is the first in its namespace never gets a signal that it has no handler for, and it may be
    # stopped before the function has set its own.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    set_capabilities((CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_ADMIN,
                      CAP_SYS_CHROOT, CAP_SYS_ADMIN))
    try:
        zygote.loop()
    except ConnectionError:
        pass  # who had the order is gone
    zygote.end()


main()
