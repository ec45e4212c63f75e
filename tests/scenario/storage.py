#!/usr/bin/env python3
"""Storage: files and folders in and out, names, pins, garbage, CAR, encryption, faults."""
import errno
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

from harness import Platform, Skip, case, check, equal, run, wait_until

MIB = 1 << 20


def noise(size, seed):
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def work(p):
    folder = p.home / "work"
    folder.mkdir(exist_ok=True)
    return folder


def tree_of(folder):
    """Every path below, with what it is and holds."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("folder",)
        else:
            found[name] = ("file", path.read_bytes())  # no modes: the profile's CIDs have none
    return found


@case
def known_cids(p):
    """Held against `ipfs add` of the profile unixfs-v1-2025: one block is sha2-256 of the bytes."""
    p.start()
    for text in (b"", b"hello world\n", noise(300000, 1)):
        file = work(p) / "one-block"
        file.write_bytes(text)
        digest = b"\x01\x55\x12\x20" + hashlib.sha256(text).digest()
        alphabet, bits = "abcdefghijklmnopqrstuvwxyz234567", int.from_bytes(digest, "big") << 2
        want = "b" + "".join(alphabet[bits >> shift & 31] for shift in range(285, -1, -5))
        equal(p.json("storage", "put", file)["cid"], want)


@case
def files_of_every_size_come_back(p):
    for number, size in enumerate((0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 17)):
        file = work(p) / "in"
        file.write_bytes(noise(size, number))
        put = p.json("storage", "put", file)
        equal(put["size_bytes"], size)
        out = work(p) / f"out-{size}"
        p.json("storage", "get", f"synor://{put['cid']}", out)
        check(out.read_bytes() == file.read_bytes(), f"{size} bytes come back changed")
        out.unlink()


@case
def folder_comes_back_whole(p):
    folder = work(p) / "tree"
    (folder / "empty/er").mkdir(parents=True)
    (folder / "deep/er").mkdir(parents=True)
    (folder / "größe €.txt").write_text("unicode")
    (folder / "deep/er/data").write_bytes(noise(3 * MIB, 7))
    (folder / "deep/same").write_bytes(noise(3 * MIB, 7))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("deep/er/data")
    (folder / "dangling").symlink_to("/nowhere/at all")
    put = p.json("storage", "put", folder, "--name", "trees/one")
    out = work(p) / "tree-out"
    p.json("storage", "get", "synor://trees/one", out)
    want, got = tree_of(folder), tree_of(out)
    check("empty/er" in got, "an empty folder was left out")
    equal(sorted(got), sorted(want))
    for name, what in want.items():
        check(got[name] == what, f"{name} came back as", str(got[name])[:200], "was",
              str(what)[:200])
    listed = p.json("storage", "ls", f"synor://{put['cid']}", "--recursive")["items"]
    equal(sorted(item["path"] for item in listed), sorted(want))
    # One file of a folder, also to standard output.
    equal(p.cli("storage", "get", "synor://trees/one/größe €.txt", "-").out, "unicode")
    equal(p.json("storage", "put", folder)["cid"], put["cid"], "the same folder, another CID")
    # A folder that holds nothing at all, and the CID that every IPFS tool gives it.
    (folder / "empty/alone").mkdir()
    nothing = p.json("storage", "put", folder / "empty/alone")["cid"]
    equal(nothing, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    check(p.json("storage", "put", folder)["cid"] != put["cid"], "an empty folder does not count")
    status, _, _ = p.http("PUT", "/v1/uploads/none/folder?path=x")
    equal(status, 404)


@case
def names_and_pins(p):
    file = work(p) / "named"
    file.write_text("first")
    first = p.json("storage", "put", file, "--name", "data/x")["cid"]
    file.write_text("second")
    second = p.json("storage", "put", file, "--name", "data/x")["cid"]
    equal(p.json("storage", "info", "synor://data/x")["cid"], second, "a name follows the last put")
    p.json("storage", "name", f"synor://{first}", "data/old")
    equal(p.json("storage", "info", "synor://data/old")["cid"], first)
    p.json("storage", "pin", f"synor://{first}")
    p.json("storage", "rm", "data/old")
    equal(p.error("storage", "info", "synor://data/old")["code"], "not-found")
    equal(p.error("storage", "get", "synor://data/old", work(p) / "no")["code"], "not-found")
    check(not (work(p) / "no").exists())
    names = [item["name"] for item in p.json("storage", "ls")["items"]]
    check("data/x" in names and "data/old" not in names, names)
    for bad in ("Data", "a//b", "../up", "a/./b", "x" * 201):
        p.error("storage", "name", f"synor://{first}", bad, code=2)


@case
def garbage_goes_and_the_rest_stays(p):
    keep, drop = work(p) / "keep", work(p) / "drop"
    keep.write_bytes(noise(2 * MIB, 21))
    drop.write_bytes(noise(2 * MIB, 22))
    kept = p.json("storage", "put", keep, "--pin")["cid"]
    dropped = p.json("storage", "put", drop)["cid"]
    p.json("storage", "gc", "--grace", "1d", "--yes")
    p.json("storage", "info", f"synor://{dropped}")
    p.json("storage", "gc", "--grace", "0s", "--yes")
    equal(p.error("storage", "info", f"synor://{dropped}")["code"], "not-found")
    out = work(p) / "kept-out"
    p.json("storage", "get", f"synor://{kept}", out)
    check(out.read_bytes() == keep.read_bytes())
    p.json("storage", "get", "synor://trees/one", work(p) / "tree-after-gc")
    verdict = p.json("storage", "verify")
    check(not verdict.get("corrupt") and not verdict.get("bad"), verdict)


@case
def no_name_is_left_without_content(p):
    """A name for content that a gc is about to remove: it is refused, or its content stays."""
    file = work(p) / "contested"
    named = 0
    for turn in range(12):
        file.write_bytes(noise(2 * MIB + turn, 200 + turn))
        cid = p.json("storage", "put", file)["cid"]
        time.sleep(0.01)
        collector = p.spawn("storage", "gc", "--grace", "0s", "--yes")
        time.sleep(turn * 0.004)
        status, _, _ = p.http("PUT", f"/v1/names?name=contested/n{turn}", {"cid": cid})
        collector.wait(timeout=60)
        check(status in (200, 404), status)
        if status == 200:
            named += 1
            out = work(p) / "contested-out"
            p.json("storage", "get", f"synor://contested/n{turn}", out, "--force")
            check(out.read_bytes() == file.read_bytes(), "gc took what had just been named")
            p.json("storage", "rm", f"contested/n{turn}", "--yes")
    check(named > 0, "no turn came in time: nothing was contested")


@case
def equal_content_is_stored_once(p):
    def disk():
        return sum(f.stat().st_size for f in (p.home / "server/content").rglob("*") if f.is_file())
    data = work(p) / "twice"
    data.write_bytes(noise(8 * MIB, 31))
    p.json("storage", "put", data)
    before = disk()
    data.write_bytes(noise(8 * MIB, 31) + b"more")
    p.json("storage", "put", data)
    check(disk() - before < MIB, f"a longer copy of 8 MiB took {disk() - before} bytes")
    before = disk()
    data.write_bytes(b"compress me " * (MIB // 2))
    p.json("storage", "put", data)
    check(disk() - before < MIB, f"6 MiB of repeated text took {disk() - before} bytes")


@case
def an_edit_stores_what_it_changed(p):
    def stored():
        return p.json("storage", "info")["stored_bytes"]
    data = work(p) / "edited"
    first = noise(16 * MIB, 61)
    data.write_bytes(first)
    cids = [p.json("storage", "put", data)["cid"]]
    versions = [first, b"one line more\n" + first, first[:5 * MIB] + b"inside" + first[5 * MIB + 99:]]
    for version in versions[1:]:
        data.write_bytes(version)
        before = stored()
        cids.append(p.json("storage", "put", data)["cid"])
        check(stored() - before < MIB // 8, f"an edit of 16 MiB took {stored() - before} bytes")
    # The CID is that of the bytes, however they are stored.
    other = Platform()
    try:
        other.start()
        equal(other.json("storage", "put", data)["cid"], cids[-1])
    finally:
        other.clean()
    out = work(p) / "edited-out"
    for cid, version in zip(cids, versions):
        p.json("storage", "get", f"synor://{cid}", out, "--force")
        check(out.read_bytes() == version, "a version came back changed")
    # The last version keeps what it is made of when the others go.
    p.json("storage", "pin", f"synor://{cids[-1]}")
    p.json("storage", "gc", "--grace", "0s", "--yes")
    equal(p.error("storage", "info", f"synor://{cids[0]}")["code"], "not-found")
    p.json("storage", "get", f"synor://{cids[-1]}", out, "--force")
    check(out.read_bytes() == versions[-1], "gc took a part of it")
    equal(p.json("storage", "verify")["bad"], 0)
    p.json("storage", "pin", f"synor://{cids[-1]}", "--off")
    out.unlink()


@case
def car_round_trip(p):
    car = work(p) / "tree.car"
    p.json("storage", "get", "synor://trees/one", car, "--car")
    root = p.json("storage", "info", "synor://trees/one")["cid"]
    other = Platform()
    try:
        other.start()
        equal(other.json("storage", "put", car, "--car", "--name", "from/car")["roots"], [root])
        out = other.home / "out"
        other.json("storage", "get", "synor://from/car", out)
        check(tree_of(out) == tree_of(work(p) / "tree-out"), "another tree came out of the CAR")
        # One flipped byte within a block: refused, and nothing of it is kept.
        data = bytearray(car.read_bytes())
        data[len(data) // 2] ^= 1
        car.write_bytes(data)
        refused = other.error("storage", "put", car, "--car", code=None)
        check(refused["code"] in ("corrupt", "invalid"), refused)
    finally:
        other.clean()


@case
def interrupted_upload_goes_on(p):
    big = work(p) / "big"
    with open(big, "wb") as out:
        for part in range(48):
            out.write(noise(4 * MIB, 100 + part))
    size = big.stat().st_size
    uploads = p.home / "server/uploads"

    def received():
        return sum(f.stat().st_size for f in uploads.rglob("*") if f.is_file())
    client = p.spawn("storage", "put", big, "--json")
    try:
        wait_until("a part has arrived", 30,
                   lambda: received() > 8 * MIB or client.poll() is not None, 0.005)
        client.send_signal(signal.SIGSTOP)
        early = client.poll() is not None
    finally:
        client.kill()
        client.wait()
    check(not early, "the upload was over before it could be cut")
    time.sleep(0.5)
    had = received()
    check(0 < had < size, had, size)
    # The daemon dies, too: what it had acknowledged is still there.
    p.kill()
    p.start()
    kept = received()
    check(kept > 0, "nothing of the upload outlived the daemon")
    put = p.json("storage", "put", big)
    out = work(p) / "big-out"
    p.json("storage", "get", f"synor://{put['cid']}", out)
    check(hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(big.read_bytes()).digest())
    equal(p.json("storage", "put", big)["cid"], put["cid"])
    out.unlink()
    big.unlink()
    equal(received(), 0, "finished uploads leave their parts behind:")


@case
def encryption_changes_no_cid(p):
    secret = b"do not leave me readable " * 1000
    if p.process is None:
        p.start()
    file = work(p) / "secret"
    file.write_bytes(secret)
    plain = p.json("storage", "put", file)["cid"]
    key = p.home / "key"
    sealed = Platform("--encrypt", str(key))
    try:
        sealed.start()
        equal(oct(key.stat().st_mode & 0o777), oct(0o600), "the key file's mode")
        equal(sealed.json("storage", "put", file, "--name", "s")["cid"], plain)
        tree = work(p) / "sealed-tree"
        (tree / "below").mkdir(parents=True)
        (tree / "below/file").write_bytes(noise(3 * MIB, 41))
        equal(sealed.json("storage", "put", tree)["cid"], p.json("storage", "put", tree)["cid"])
        for part in [*sealed.home.glob("server/**/*"), *sealed.home.glob("agent/content/**/*")]:
            if part.is_file():
                check(secret[:24] not in part.read_bytes(), f"{part} shows the text")
        sealed.stop()
        sealed.start()
        out = work(p) / "secret-out"
        sealed.json("storage", "get", "synor://s", out)
        check(out.read_bytes() == secret)
        # With another key, or none, it does not start, and says what is missing; nothing is harmed.
        out.unlink()
        other = p.home / "other-key"
        for options in (["--encrypt", str(other)], []):
            sealed.stop()
            said = sealed.cli("server", *options, code=1, env={"SYNOR_HOME": str(sealed.home)}).err
            check("sealed under key" in said and "--old-key" in said, said)
            check(not other.exists(), "a key file that was refused was left behind")
        # A lost key does not lock up the rest.
        given, sealed.options = sealed.options, ["--without-key"]
        sealed.start()
        equal(sealed.error("storage", "get", "synor://s", out)["code"], "unavailable")
        check(not out.exists(), "a file without its key was delivered")
        sealed.stop()
        # Another key takes over with the old one beside it.
        sealed.options = ["--encrypt", str(other), "--old-key", str(key)]
        sealed.start()
        sealed.json("storage", "get", "synor://s", out)
        check(out.read_bytes() == secret)
        out.unlink()
        sealed.stop()
        sealed.options = given
        sealed.start()
        sealed.json("storage", "get", "synor://s", out)
        check(out.read_bytes() == secret)
    finally:
        sealed.clean()


@case
def a_flipped_bit_is_found_and_nothing_is_written(_):
    p = Platform()
    try:
        p.start()
        data = p.home / "data"
        data.write_bytes(noise(4 * MIB, 77))
        cid = p.json("storage", "put", data, "--name", "victim")["cid"]
        p.stop()
        pack = max((p.home / "server/content").rglob("*.pack"), key=lambda f: f.stat().st_size)
        with open(pack, "r+b") as file:
            file.seek(pack.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x10]))
        p.start()
        out = p.home / "out"
        said = p.error("storage", "get", f"synor://{cid}", out)
        check(p.process.poll() is None, "the daemon died:", p.log_tail())
        equal(said["code"], "corrupt", said)
        check(not out.exists(), "a damaged file was delivered")
        check(not [f for f in p.home.glob("*out*")], "a part of it lies about")
        verdict = p.json("storage", "verify", code=1)
        equal(verdict["bad"], 1)
        equal([(a["kind"], a["id"], a["blocks"]) for a in verdict["affected"]],
              [("name", "victim", 1)])
        told = p.cli("storage", "verify", code=1).out
        check("victim" in told and "storage put" in told, told)
        # Putting the same file again repairs it, also after a restart.
        p.stop()
        p.start()
        equal(p.json("storage", "put", data)["cid"], cid)
        p.json("storage", "get", "synor://victim", out)
        check(out.read_bytes() == data.read_bytes(), "it was not repaired")
        out.unlink()
        equal(p.json("storage", "verify")["bad"], 0)
        # The rest is not drawn in.
        data.write_bytes(noise(2 * MIB, 78))
        cid = p.json("storage", "put", data)["cid"]
        p.json("storage", "get", f"synor://{cid}", out)
        check(out.read_bytes() == data.read_bytes())
    finally:
        p.clean()


@case
def a_full_disk_is_told_and_survived(_):
    if os.getuid() != 0 or not shutil.which("mkfs.ext4"):
        raise Skip("needs root and mkfs.ext4")
    p = Platform()
    image = p.home.with_name(p.home.name + ".img")
    mounted = False
    try:
        with open(image, "wb") as file:
            file.truncate(96 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), str(p.home)], check=False,
                              capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"cannot mount a loop image: {done.stderr.strip()}")
        mounted = True
        p.options, p.command = [], "server"
        p.start()
        small = image.with_suffix(".small")
        small.write_bytes(noise(MIB, 5))
        before = p.json("storage", "put", small, "--name", "before")["cid"]
        large = image.with_suffix(".large")
        large.write_bytes(noise(150 * MIB, 6))
        said = p.error("storage", "put", large, code=1)
        equal(said["code"], "no-space", said)
        out = image.with_suffix(".out")
        p.json("storage", "get", f"synor://{before}", out)
        check(out.read_bytes() == small.read_bytes(), "what was there is damaged")
        # Others fill the disk to the last byte.
        upload = p.api("POST", "/v1/uploads", {"kind": "file"}, want=201)["id"]
        p.api("PUT", f"/v1/uploads/{upload}/data", noise(20 * MIB, 7))
        with open(p.home / "full", "wb", buffering=0) as full:
            try:
                while True:
                    full.write(bytes(MIB))
            except OSError as error:
                equal(error.errno, errno.ENOSPC)
        equal(p.error("storage", "put", small)["code"], "no-space")
        # Room again, and with it room to give up the rest: the store goes on without a restart.
        folders = [folder.name for folder in (p.home / "server/uploads").iterdir()]
        for one in [upload, *(name for name in folders if name != upload)]:
            status, _, text = p.http("DELETE", f"/v1/uploads/{one}")
            check(status in (200, 204), status, text)
        p.json("storage", "gc", "--grace", "0s", "--yes")
        small.write_bytes(noise(MIB, 8))
        cid = p.json("storage", "put", small)["cid"]
        p.json("storage", "get", f"synor://{cid}", out, "--force")
        check(out.read_bytes() == small.read_bytes())
        p.json("account", "create", "after")
    finally:
        for name in (".small", ".large", ".out"):
            image.with_suffix(name).unlink(missing_ok=True)
        if p.process is not None:
            p.process.terminate()
            p.process.wait(timeout=60)
            p.process = None
        if mounted:
            subprocess.run(["umount", str(p.home)], check=False)
        image.unlink(missing_ok=True)
        p.sweep()


@case
def wrong_references_are_told(p):
    for ref in ("synor://no/such",
                "synor://bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"):
        equal(p.error("storage", "get", ref, work(p) / "no")["code"], "not-found")
    said = p.error("storage", "put", work(p) / "no-such-file", code=None)
    check("no-such-file" in said["message"], said)
    out = work(p) / "there"
    out.write_text("mine")
    p.error("storage", "get", "synor://data/x", out, code=None)
    equal(out.read_text(), "mine", "a file was replaced without --force")


@case
def what_is_no_plain_file_is_not_stored_as_something_else(p):
    pipe, address = work(p) / "pipe", work(p) / "socket"
    os.mkfifo(pipe)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    before = p.json("storage", "info")
    for path in ("/proc/self/mem", "/proc/cpuinfo", "/dev/null", "/dev/zero", pipe, address,
                 "/proc/self/fdinfo"):
        said = p.error("storage", "put", path, "--name", "no/file", code=None, timeout=60)
        check(str(path) in said["message"], said)
    p.error("storage", "put", "--car", pipe, code=None, timeout=60)
    p.error("storage", "put", "--car", "/dev/zero", code=None, timeout=60)
    equal(p.error("storage", "info", "synor://no/file")["code"], "not-found")
    equal(p.json("storage", "info")["blocks"], before["blocks"], "something was stored")
    folder = work(p) / "mixed"
    folder.mkdir()
    (folder / "file").write_text("x")
    os.mkfifo(folder / "pipe")
    said = p.cli("storage", "put", folder)
    check("1 entry is left out" in said.err, said)
    listener.close()


@case
def gc_accounts_for_what_it_removed(p):
    before = p.json("storage", "gc", "--grace", "0s", "--yes")
    (work(p) / "most").write_bytes(noise(4 * MIB, 91))
    (work(p) / "little").write_bytes(noise(MIB, 92))
    p.json("storage", "put", work(p) / "most", "--name", "gc/most")
    p.json("storage", "put", work(p) / "little")
    time.sleep(0.01)  # what is put in the same millisecond is new
    said = p.cli("storage", "gc", "--grace", "0s", "--yes").out
    check(" 1 block removed, " in " " + said and "0 B freed on disk" in said, said)
    check("of removed blocks stay in their packs" in said, said)
    after = p.json("storage", "gc", "--grace", "0s", "--yes")
    more = after["bytes_waiting"] - before["bytes_waiting"]
    check(MIB <= more < MIB + 4096, before, after)


run()
