"""The examples of functions, without the platform: their programs answer as their contract says.

What this machine cannot run or compile is skipped; `--full` also compiles Go, which takes long.
"""
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
HOSTS = HERE.parents[1] / "src" / "workload" / "function"
WAIT_S = 60
failed = 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


class Program:
    def __init__(self, command, **env):
        self.port = free_port()
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={
            **os.environ, "PORT": str(self.port), **env})

    def call(self, path, method="GET", body=None, headers=None):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        return answer.status, answer.read()

    def is_ready(self):
        try:
            return self.call("/_synor/health")[0] == 200
        except OSError:
            return False

    def __enter__(self):
        until = time.monotonic() + WAIT_S
        while not self.is_ready():
            if self.child.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise AssertionError("it is not ready")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def script(program, host, folder, **env):
    return Program([program, HOSTS / host], SYNOR_CODE=str(HERE / folder), **env)


def scripts(program, host, folder):
    with script(program, host, folder, SYNOR_HANDLER="main.handler", GREETING="Hi",
                SYNOR_VERSION="2") as made:
        status, body = made.call("/hello/Ada")
        assert status == 200 and b'"Hi, Ada!"' in body and b'"version":2' in body, body
        _, body = made.call("/", "POST", '{"a":1}', {"x-synor-trigger": "queue"})
        assert body == b'{"got":{"a":1}}', body
    with script(program, host, folder, SYNOR_HANDLER="main.count") as made:
        assert made.call("/?to=4") == (200, b"0\n1\n2\n3\n")
    with script(program, host, folder, SYNOR_HANDLER="main.invert") as made:
        assert made.call("/", "POST", b"\x00\x01\xff") == (200, b"\xff\xfe\x00")


def java(javac):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([javac, "--release", "17", "-Xlint:all", "-Werror", "-d", folder, "Main.java"],
                       check=True, cwd=HERE / "java")
        with Program(["java", "-cp", folder, "Main"]) as made:
            for _ in range(3):
                assert made.call("/hello", "POST", b"12345") == (200, b"Hello from Java: /hello\n")


def compiled(command, language, **env):
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "main")
        subprocess.run([part.replace("OUT", program) for part in command], check=True,
                       env={**os.environ, **env}, cwd=HERE / language.lower())
        with Program([program]) as made:
            for _ in range(3):
                status, body = made.call("/hello", "POST", b"12345")
                assert status == 200 and f"Hello from {language}: /hello".encode() in body, body


CASES = (
    ("python", "/usr/bin/python3", lambda it: scripts(it, "host.py", "python")),
    ("node", "node", lambda it: scripts(it, "host.mjs", "node")),
    ("ruby", "ruby", lambda it: scripts(it, "host.rb", "ruby")),
    ("java", "javac", java),
    ("c", "cc", lambda it: compiled([it, "-Wall", "-Wextra", "-Werror", "-o", "OUT", "main.c"], "C")),
    ("rust", "rustc", lambda it: compiled([it, "-O", "-o", "OUT", "main.rs"], "Rust")),
    ("go", "go", lambda it: compiled([it, "build", "-o", "OUT", "main.go"], "Go", CGO_ENABLED="0")),
)

print(f"1..{len(CASES)}")
for number, (name, program, case) in enumerate(CASES, 1):
    found = shutil.which(program)
    if found is None or (name == "go" and "--full" not in sys.argv):
        why = "takes long: --full" if found else f"there is no {program} here"
        print(f"ok {number} - {name} # SKIP {why}")
        continue
    try:
        case(found)
        print(f"ok {number} - {name}", flush=True)
    except Exception as error:  # the others are run all the same
        failed = 1
        print(f"not ok {number} - {name}\n# {type(error).__name__}: {error}", flush=True)
sys.exit(failed)
