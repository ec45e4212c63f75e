"""A private platform for benchmarks: `synor up` on a folder of its own, and its API."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

READY_S = 20
JOB_S = 60
END_S = 30  # for instances that were told to end


class Connection(http.client.HTTPConnection):
    """A connection that is kept open, over the platform's Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=JOB_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    """The platform answered with an error."""


class Platform:
    """Runs while the `with` block does; leaves nothing behind."""

    def __init__(self, command="up", options=()):
        self.command, self.options = command, options
        self.synor = os.environ.get("SYNOR", os.path.join("build", "synor"))
        self.folder = tempfile.mkdtemp(prefix="synor-bench-", dir="/var/tmp")
        self.data = os.path.join(self.folder, "data")
        self.socket = os.path.join(self.data, "synor.sock")
        self.process = None
        self.http = Connection(self.socket)

    def __enter__(self):
        log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            [self.synor, self.command, "--data-dir", self.data, *self.options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        try:
            self.wait_until_ready(0 if self.command == "server" else 1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.wait_until_empty()
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(READY_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.sweep()

    def wait_until_empty(self):
        """Instances outlive the daemon, and would be met by whatever is measured next."""
        until = time.monotonic() + END_S
        instances = pathlib.Path(self.data, "agent", "instances")
        while instances.is_dir() and any(instances.iterdir()) and self.process.poll() is None:
            if time.monotonic() > until:
                break
            time.sleep(0.1)

    def sweep(self):
        """Take away by force what has the folder on its command line, as the mesh's proxy, or is mounted there."""
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.folder.encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()):
            if line.split()[4].startswith(self.folder + "/"):
                subprocess.run(["umount", "-l", line.split()[4]], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until_ready(self, nodes=1):
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if self.call("GET", "/v1/status")["nodes"]["ready"] >= nodes:
                    return
            except (OSError, http.client.HTTPException):
                self.http.close()
            time.sleep(0.05)
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            raise SystemExit("the platform does not come up:\n" + log.read()[-2000:])

    def request(self, method, path, body=None, headers=None):
        """The answer's status and bytes."""
        self.http.request(method, path, body=body, headers=headers or {})
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def call(self, method, path, document=None):
        """One JSON call."""
        body = None if document is None else json.dumps(document)
        status, data = self.request(method, path, body, {"Content-Type": "application/json"})
        if status >= 300:
            raise Refused(f"{method} {path}: {status} {data.decode(errors='replace')[:300]}")
        return json.loads(data) if data else None

    def store_folder(self, name, files):
        """Put {path: bytes} into storage under a name."""
        upload = self.call("POST", "/v1/uploads", {"kind": "folder"})["id"]
        for path, data in files.items():
            status, answer = self.request(
                "PUT", f"/v1/uploads/{upload}/data?path={path}&offset=0&size={len(data)}", data,
                {"Content-Type": "application/octet-stream"})
            if status >= 300:
                raise Refused(f"upload of {path}: {status} {answer.decode(errors='replace')}")
        return self.call("POST", f"/v1/uploads/{upload}/commit", {"name": name})["cid"]

    def sandboxes(self):
        """The sandboxes that work on the platform's one node."""
        node = self.call("GET", "/v1/nodes")["items"][0]
        return [box["name"] for box in node["status"]["sandboxes"] if box["state"] == "ready"]

    def wait_for(self, job, states):
        """The job once it is in one of these states."""
        until = time.monotonic() + JOB_S
        while time.monotonic() < until:
            document = self.call("GET", f"/v1/training/{job}")
            if document["status"]["state"] in states:
                return document
            time.sleep(0.1)
        raise SystemExit(f"{job} is {document['status']['state']}: {document['status']['message']}")
