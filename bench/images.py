#!/usr/bin/env python3
"""Pulls of a small and a large image from a registry on this machine, beside `skopeo copy`.

    images.py      SYNOR names the binary; needs root, docker-registry and skopeo

Both sides are one command each, from the same registry, in turns: `synor compute image pull` into
the content store (verified, durable), `skopeo copy` into a new image layout (verified, not
synced). Between two pulls the image is forgotten and collected, so that every byte comes again.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tarfile
import time
import urllib.request

from bench_figures import figure, say
from bench_platform import READY_S, Platform

MIB = 1 << 20
IMAGES = (("1mb", 1, MIB, 7), ("200mb", 4, 50 * MIB, 3))  # name, layers, bytes of one, rounds
GOAL = 1.0
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def layout(folder, layers, size):
    """An image layout with layers of one file each, which nothing packs."""
    blobs = os.path.join(folder, "blobs/sha256")
    os.makedirs(blobs)

    def blob(kind, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}",
                "size": len(data)}

    listed = []
    for _ in range(layers):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo("file")
            info.size = size
            tar.addfile(info, io.BytesIO(os.urandom(size)))
        listed.append(blob("layer.v1.tar", out.getvalue()))
    config = {"os": "linux", "architecture": ARCHITECTURE, "config": {},
              "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in listed]}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob("config.v1+json", json.dumps(config).encode()), "layers": listed}
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    for name, text in (("oci-layout", {"imageLayoutVersion": "1.0.0"}),
                       ("index.json", {"schemaVersion": 2, "manifests": [entry]})):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(text, file)


@contextlib.contextmanager
def registry(folder):
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{sock.getsockname()[1]}"
    os.mkdir(folder)
    path = os.path.join(folder, "config.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"}}\n"
                   f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n")
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", path], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
    try:
        until = time.monotonic() + READY_S
        while True:
            try:
                urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit("the registry does not come up") from None
                time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait()


def seconds(*command, **more):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE, **more)
    return time.monotonic() - begin


def measure(platform_, host, name, rounds):
    env = {**os.environ, "SYNOR_HOME": platform_.data, "DOCKER_CONFIG": platform_.folder}
    ref, ours, theirs = f"{host}/bench/{name}:1", [], []
    for number in range(rounds + 1):
        target = os.path.join(platform_.folder, f"copy-{name}")
        taken = seconds(platform_.synor, "compute", "image", "pull", "--quiet", ref, env=env)
        copied = seconds("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
                         f"docker://{ref}", f"oci:{target}:1")
        shutil.rmtree(target)
        platform_.call("DELETE", f"/v1/images?name={ref.replace(':', '%3A')}")
        platform_.call("POST", "/v1/content/gc", {"grace_ms": 0})
        if number > 0:  # the first is for warming up
            ours.append(taken)
            theirs.append(copied)
        say(f"{name}: {1000 * taken:.0f} ms, skopeo {1000 * copied:.0f} ms")
    mine, other = statistics.median(ours), statistics.median(theirs)
    figure(f"image_pull_{name}", 1000 * mine, "ms", "skopeo", 1000 * other, mine / other, GOAL,
           mine <= GOAL * other)


def main():
    for tool in ("docker-registry", "skopeo"):
        if shutil.which(tool) is None:
            say(f"needs {tool}")
            return
    with Platform() as platform_, registry(os.path.join(platform_.folder, "registry")) as host:
        for name, layers, size, rounds in IMAGES:
            folder = os.path.join(platform_.folder, f"layout-{name}")
            layout(folder, layers, size)
            seconds("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false",
                    f"oci:{folder}", f"docker://{host}/bench/{name}:1")
            shutil.rmtree(folder)
            measure(platform_, host, name, rounds)


if __name__ == "__main__":
    main()
