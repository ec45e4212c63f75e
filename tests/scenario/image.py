#!/usr/bin/env python3
"""Jobs in an image of their own: an OCI layout in the content store becomes the root."""
import gzip
import hashlib
import io
import json
import pathlib
import platform as machine
import shutil
import tarfile
import tempfile

from harness import Skip, case, check, equal, job_folder, need_sandbox, run

BUSYBOX = pathlib.Path("/bin/busybox")  # Debian's busybox-static
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine(), machine.machine())
OS_RELEASE = "NAME=tiny\nID=tiny\n"

LOOK = """#!/bin/sh
echo "root: $(echo /*)"
[ ! -e /usr ] || echo "the host's /usr is visible: $(ls /usr)"
[ ! -e /etc/shadow ] || echo "the host's /etc is visible"
grep '^ID=' /etc/os-release
cat /etc/private
echo "replaced: $(cat /etc/replaced)"
[ ! -e /etc/removed ] && echo "removed: yes"
echo "env: $FROM_IMAGE $HOME path: $PATH"
echo "user: $(id -u):$(id -g)"
echo x > /etc/mine 2>/dev/null && echo "the root is writable"
echo saved > "$SYNOR_OUTPUT_DIR/result" && echo "output: yes"
"""


def layer(entries):
    """A gzipped tar of (name, mode, content); bytes make a file, text a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode, content in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


class Layout:
    """An OCI image layout in the making."""

    def __init__(self, parent):
        self.path = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix="layout-"))
        (self.path / "blobs/sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, kind, data):
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}",
                "size": len(data)}

    def finish(self, layers, architecture=ARCHITECTURE):
        config = {"os": "linux", "architecture": architecture,
                  "config": {"Env": ["PATH=/bin:/opt/bin", "FROM_IMAGE=yes", "HOME=/etc"],
                             "User": "1234:1235", "WorkingDir": "/"},
                  "rootfs": {"type": "layers",
                             "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()
                                          for tar in layers]}}
        manifest = {"schemaVersion": 2,
                    "config": self.blob("config.v1+json", json.dumps(config).encode()),
                    "layers": [self.blob("layer.v1.tar+gzip", gzip.compress(tar))
                               for tar in layers]}
        entry = self.blob("manifest.v1+json", json.dumps(manifest).encode())
        (self.path / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return self.path


def tiny_layers():
    applets = ("sh", "cat", "grep", "id", "ls", "sleep", "test", "echo")
    base = [("bin", 0o755, None), ("bin/busybox", 0o700, BUSYBOX.read_bytes()),
            *((f"bin/{name}", 0o777, "busybox") for name in applets),
            ("etc", 0o755, None), ("etc/os-release", 0o644, OS_RELEASE.encode()),
            ("etc/private", 0o600, b"private: readable\n"),
            ("etc/replaced", 0o644, b"old"), ("etc/removed", 0o644, b"old")]
    return [layer(base), layer([("etc/replaced", 0o644, b"new"), ("etc/.wh.removed", 0o644, b"")])]


def put(p, layout, name):
    return p.json("storage", "put", layout, "--name", name)["cid"]


@case
def an_image_is_stored(p):
    if not BUSYBOX.exists():
        raise Skip("needs a static busybox: apt-get install busybox-static")
    p.start()
    p.images = {"good": put(p, Layout(p.home).finish(tiny_layers()), "images/bb")}
    p.works = need_sandbox(p)


def in_sandbox(p, sandbox):
    if sandbox not in getattr(p, "works", ()):
        raise Skip(f"{sandbox} does not work here")
    folder = job_folder(p.home, LOOK)
    job = p.create(folder, "--image", "synor://images/bb", "--isolation", sandbox)
    said = p.wait_end(job["id"])
    log = p.logs(job["id"])
    equal(said["status"]["state"], "succeeded", json.dumps(said["status"], indent=1), log)
    equal(said["status"]["image_cid"], p.images["good"])
    for line in ("ID=tiny", "private: readable", "replaced: new", "removed: yes",
                 "env: yes /synor/scratch path: /bin:/opt/bin", "user: 1234:1235", "output: yes"):
        check(line in log, f"{line!r} is not in the log:", log)
    for line in ("visible", "writable"):
        check(line not in log, log)


@case
def under_gvisor_the_root_is_the_image(p):
    in_sandbox(p, "gvisor")


@case
def under_runc_the_root_is_the_image(p):
    in_sandbox(p, "runc")


@case
def it_is_unpacked_once_and_complete(p):
    if not getattr(p, "works", None):
        raise Skip("no job has run")
    folder = p.home / "agent/images" / p.images["good"]
    equal(sorted(path.name for path in folder.iterdir()), ["rootfs"])


def must_fail(p, image, *words):
    job = p.create(job_folder(p.home, LOOK), "--image", image)
    said = p.wait_end(job["id"])
    equal(said["status"]["state"], "failed", said["status"])
    message = said["status"]["message"]
    for word in words:
        check(word in message, f"{word!r} is not in the message:", message)


@case
def what_is_no_image_for_this_machine_fails_with_the_reason(p):
    if not getattr(p, "works", None):
        raise Skip("no sandbox works here")
    put(p, Layout(p.home).finish(tiny_layers(), "mips64"), "images/foreign")
    must_fail(p, "synor://images/foreign", "mips64", ARCHITECTURE)
    damaged = Layout(p.home).finish(tiny_layers())
    blob = max((damaged / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    put(p, damaged, "images/damaged")
    must_fail(p, "synor://images/damaged", "layer 0")
    folder = p.home / "plain"
    folder.mkdir()
    shutil.copy(__file__, folder)
    put(p, folder, "images/plain")
    must_fail(p, "synor://images/plain", "oci-layout")


@case
def an_image_that_does_not_exist_is_refused(p):
    if not getattr(p, "images", None):
        raise Skip("no platform")
    said = p.create(job_folder(p.home, LOOK), "--image", "synor://images/none", code=1)
    equal(said["code"], "not-found", said)


if __name__ == "__main__":
    run()
