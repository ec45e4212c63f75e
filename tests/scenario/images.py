#!/usr/bin/env python3
"""Images from a real registry, from archives and layouts, into the content store and into services."""
import atexit
import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request

from harness import READY_S, SYNOR, Skip, case, check, equal, image_layout, run, wait_until

USER, PASSWORD = "scenario", "pass-word-of-the-scenario"
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: scenario, path: {users}}}}}
"""


def free_port():
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def copy(source, target, *options):
    done = subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", *options, source, target],
                          capture_output=True, text=True, timeout=120, check=False)
    equal(done.returncode, 0, done.stdout, done.stderr)


def publish(p, layout, name):
    copy(f"oci:{p.home / layout}", f"docker://{p.registry}/{name}", "--dest-tls-verify=false",
         "--dest-creds", f"{USER}:{PASSWORD}")


def pull(p, name, *options, **more):
    return p.json("compute", "image", "pull", f"{p.registry}/{name}", *options, env=p.docker, **more)


def answers(p):
    check(p.serving.poll() is None, "the registry ended")
    try:
        urllib.request.urlopen(f"http://{p.registry}/v2/", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return True


@case
def a_registry_is_started(p):
    missing = [tool for tool in ("docker-registry", "skopeo", "htpasswd") if not shutil.which(tool)]
    if missing:
        raise Skip(f"needs {', '.join(missing)}")
    p.start()
    folder = p.home / "registry"
    folder.mkdir()
    users = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True).stdout
    (folder / "users").write_bytes(users)
    port = free_port()
    (folder / "config.yml").write_text(
        CONFIG.format(root=folder / "data", port=port, users=folder / "users"))
    with open(folder / "log", "wb") as log:
        p.serving = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    atexit.register(p.serving.kill)  # whatever happens; once it has ended, nothing
    p.registry = f"127.0.0.1:{port}"
    wait_until("the registry answers", READY_S, lambda: answers(p))
    docker = p.home / "docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"auths": {p.registry: {"auth": AUTH}}}))
    p.docker = {"DOCKER_CONFIG": str(docker)}
    for layout, text in (("one", "one"), ("two", "two" * 1000)):
        image_layout(p.home / layout, text)
    publish(p, "one", "team/web:1")


def need(p):
    if not getattr(p, "docker", None):
        raise Skip("there is no registry")


@case
def it_is_pulled_with_credentials_that_stay_nowhere(p):
    need(p)
    ref = f"{p.registry}/team/web:1"
    # What is not here yet would be pulled, and is no reason to refuse; a plan pulls nothing.
    file = p.home / "planned.yaml"
    file.write_text(f"services:\n  filed:\n    image: {ref}\n    scale: 0\n")
    wanted = ["compute", "service", "deploy", "--name", "planned", "--image", ref, "--plan"]
    plan = p.json(*wanted, code=None)  # the node may not be there yet
    equal((plan["pull"], plan["refused"]), ({"image": ref}, None), plan)
    check(f"{ref} is not here; it would be pulled first." in p.cli(*wanted, code=None).err)
    item = p.json("compute", "apply", "-f", file, "--plan")["items"][0]
    equal((item["pull"], item["refused"]), ({"image": ref}, None), item)
    check("would be pulled first" in p.cli("compute", "apply", "-f", file, "--plan").out)
    equal(p.json("compute", "image", "list")["items"], [])
    nothing = {"DOCKER_CONFIG": str(p.home / "absent")}
    said = p.error("compute", "image", "pull", f"{p.registry}/team/web:1", env=nothing)
    equal(said["code"], "forbidden", said)
    image = pull(p, "team/web:1")
    equal(image["name"], f"{p.registry}/team/web:1")
    manifest = json.loads((p.home / "one/index.json").read_text())["manifests"][0]
    equal(image["digest"], manifest["digest"])
    equal(len(image["layers"]), 1)
    equal(image["platforms"], [image["platform"]])
    said = p.error("compute", "image", "pull", f"{p.registry}/team/web:1", "--platform", "linux/s390y", env=p.docker)
    equal(said["code"], "unsupported", said)
    p.first = image
    # Verified as any content is, and an image layout.
    names = {i["path"] for i in p.json("storage", "ls", f"synor://{image['cid']}", "-R")["items"]}
    check({"index.json", "oci-layout"} <= names, names)
    for path in [*p.home.rglob("*"), p.log]:
        if path.is_file() and p.home / "docker" not in path.parents:
            data = path.read_bytes()
            check(PASSWORD.encode() not in data and AUTH.encode() not in data, path)
    equal(p.error("compute", "image", "pull", f"{p.registry}/team/absent:1", env=p.docker)["code"],
          "not-found")
    equal(p.error("compute", "image", "pull", "Not/An/Image", code=2)["code"], "invalid")


@case
def a_helper_program_has_the_credentials(p):
    need(p)
    folder = p.home / "helped"
    folder.mkdir()
    programs = p.home / "bin"
    programs.mkdir()
    (folder / "config.json").write_text(json.dumps({"credHelpers": {p.registry: "scenario"}}))
    env = {"DOCKER_CONFIG": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
    ref = f"{p.registry}/team/web:1"
    done = p.cli("compute", "image", "pull", ref, env=env, code=1)
    check("docker-credential-scenario is not in PATH" in done.err, done)
    helper = programs / "docker-credential-scenario"
    helper.write_text("#!/bin/sh\nread -r host\n[ \"$1 $host\" = \"get " + p.registry + "\" ] || exit 3\n"
                      f"echo '{{\"Username\": \"{USER}\", \"Secret\": \"'$(cat {p.home}/docker/secret)'\"}}'\n")
    helper.chmod(0o755)
    (p.home / "docker/secret").write_text(PASSWORD)
    equal(p.json("compute", "image", "pull", ref, env=env)["digest"], p.first["digest"])
    # It has none, or fails: what needs credentials is refused, with the reason when there is one.
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
    done = p.cli("compute", "image", "pull", ref, env=env, code=1)
    check("docker-credential" not in done.err, done)
    helper.write_text("#!/bin/sh\necho the keychain is locked\nexit 1\n")
    done = p.cli("compute", "image", "pull", ref, env=env, code=1)
    check("docker-credential-scenario fails (status 1)" in done.err, done)
    said = p.error("compute", "image", "pull", ref, "--auth-file", folder / "config.json", env=env)
    equal(said["code"], "unavailable", said)


@case
def layers_are_shared_and_names_are_one_folder(p):
    need(p)
    publish(p, "one", "team/same:latest")
    image = pull(p, "team/same")
    equal(image["cid"], p.first["cid"])
    listed = p.json("compute", "image", "list")["items"]
    equal([i["name"] for i in listed],
          sorted([f"{p.registry}/team/same:latest", f"{p.registry}/team/web:1"]))
    text = p.cli("compute", "image", "list").out
    check(text.splitlines()[1].split()[-2] == "1", text)


@case
def archives_and_layouts_are_pushed(p):
    need(p)
    copy(f"oci:{p.home / 'one'}", f"docker-archive:{p.home / 'docker.tar'}:web:1")
    copy(f"oci:{p.home / 'one'}", f"oci-archive:{p.home / 'oci.tar'}:v1")
    for source, name in (("docker.tar", "images/docker"), ("oci.tar", "images/oci"),
                         ("one", "images/layout")):
        image = p.json("compute", "image", "push", p.home / source, name)
        equal(image["ref"], f"synor://{name}")
        equal(p.json("compute", "image", "inspect", name)["cid"], image["cid"])
        if source != "docker.tar":  # there docker's kind of manifest was made anew
            equal(image["cid"], p.first["cid"])
    (p.home / "text").write_text("no image")
    equal(p.error("compute", "image", "push", p.home / "text", "images/x", code=2)["code"], "invalid")
    equal(p.error("compute", "image", "push", p.home / "oci.tar", "images/x", "--tag", "v2")["code"],
          "not-found")
    p.json("compute", "image", "rm", "images/docker", "--yes")
    equal(p.error("compute", "image", "inspect", "images/docker")["code"], "not-found")


def pushed(p, source, name, *options):
    return p.json("compute", "image", "push", source, f"{p.registry}/{name}", *options, env=p.docker)


def in_registry(p, name):
    done = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}",
                           f"docker://{p.registry}/{name}"], capture_output=True, timeout=120, check=False)
    equal(done.returncode, 0, done.stderr)
    return json.loads(done.stdout)


@case
def images_are_sent_to_the_registry(p):
    need(p)
    # What is here, and came from that registry: not a byte goes.
    sent = pushed(p, p.first["name"], "sent/web:1")
    equal((sent["layers_mounted"], sent["bytes_sent"]), (1, 0), sent)
    equal(in_registry(p, "sent/web:1")["Digest"], p.first["digest"])
    # From an archive that is nowhere else, in one request.
    sent = pushed(p, p.home / "docker.tar", "sent/docker:1")
    equal(sent["layers_sent"], 1, sent)
    equal(in_registry(p, "sent/docker:1")["Digest"], sent["digest"])
    # A large one, in pieces; the second time it is there.
    image_layout(p.home / "large", "0" * (33 << 20))
    copy(f"oci:{p.home / 'large'}", f"docker-archive:{p.home / 'large.tar'}:large:1")  # unpacked
    sent = pushed(p, p.home / "large.tar", "sent/large:1")
    check(sent["bytes_sent"] > 32 << 20, sent)
    equal(in_registry(p, "sent/large:1")["Digest"], sent["digest"])
    equal(pushed(p, p.home / "large.tar", "sent/large:2")["layers_there"], 1)
    # Not without credentials, and not as another digest than it has.
    wrong = f"{p.registry}/sent/web@sha256:{'0' * 64}"
    equal(p.error("compute", "image", "push", "images/oci", wrong, code=2, env=p.docker)["code"], "invalid")
    nothing = p.home / "no-credentials.json"
    nothing.write_text("{}")
    said = p.error("compute", "image", "push", "images/oci", f"{p.registry}/sent/no:1", "--auth-file", nothing)
    equal(said["code"], "forbidden", said)
    check(p.registry in p.cli("compute", "image", "push", "images/oci", f"{p.registry}/sent/oci:1",
                              env=p.docker).out)


@case
def images_are_exported(p):
    need(p)
    file = p.home / "exported.tar"
    ref = f"{p.registry}/team/web:1"
    p.json("compute", "image", "export", ref, "--output", file)
    raw = subprocess.run([SYNOR, "compute", "image", "export", ref, "-o", "-"], capture_output=True, check=True,
                         env=p.environment()).stdout
    equal(hashlib.sha256(raw).digest(), hashlib.sha256(file.read_bytes()).digest(), "the same bytes each time")
    said = p.error("compute", "image", "export", ref, "--output", file)
    equal(said["code"], "already-exists", said)
    p.json("compute", "image", "export", ref, "--output", file, "--force")
    # Taken in again it is the same image; other tools know it too.
    again = p.json("compute", "image", "push", file, "images/again")
    equal((again["digest"], again["cid"]), (p.first["digest"], p.first["cid"]))
    done = subprocess.run(["skopeo", "--insecure-policy", "inspect", "--raw", f"oci-archive:{file}"],
                          capture_output=True, check=False)
    equal("sha256:" + hashlib.sha256(done.stdout).hexdigest(), p.first["digest"], done.stderr)
    p.json("compute", "image", "rm", "images/again", "--yes")


class Narrow:
    """What comes from the registry goes through here: so much of it, then nothing more until it is let go."""

    def __init__(self, registry, limit):
        self.limit, self.passed, self.target = limit, 0, registry.split(":")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.change = threading.Condition()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(self.target)
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, source, sink, counted):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self.change:
                    self.passed += len(data) if counted else 0
                    self.change.notify_all()
                    self.change.wait_for(lambda: not counted or self.passed < self.limit)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def stalls(self):
        with self.change:
            check(self.change.wait_for(lambda: self.passed >= self.limit, 120), f"{self.passed} bytes came")

    def let_go(self):
        with self.change:
            passed, self.limit, self.passed = self.passed, 1 << 40, 0
            self.change.notify_all()
        return passed


@case
def a_killed_server_goes_on_with_a_pull(p):
    need(p)
    size = 80 << 20  # of which 64 MiB are written down as having come
    image_layout(p.home / "slow", os.urandom(size))
    publish(p, "slow", "team/slow:1")
    narrow = Narrow(p.registry, 76 << 20)
    (p.home / "docker/config.json").write_text(json.dumps(
        {"auths": {host: {"auth": AUTH} for host in (p.registry, narrow.address)}}))
    pulling = subprocess.Popen([SYNOR, "compute", "image", "pull", f"{narrow.address}/team/slow:1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**p.environment(), **p.docker})
    narrow.stalls()
    wait_until("it is written down how far it came", 120, lambda: any(
        path.is_file() and "." not in path.name for path in p.home.glob("server/pulls/*/*")), 0.05)
    p.kill()
    pulling.wait(timeout=60)
    p.start()
    narrow.let_go()
    image = p.json("compute", "image", "pull", f"{narrow.address}/team/slow:1", env=p.docker)
    check(image["size_bytes"] >= size, image)
    check(narrow.passed < size / 2, f"{narrow.passed} of {size} bytes came again")
    narrow.listener.close()
    p.json("compute", "image", "rm", f"{narrow.address}/team/slow:1", "--yes")


@case
def a_deployed_tag_stays_what_it_was(p):
    need(p)
    wanted = ["compute", "service", "deploy", "--name", "web", "--image", f"{p.registry}/team/web:1",
              "--replicas", "0", "--yes"]
    service = p.json(*wanted, env=p.docker)
    equal(service["spec"]["image"], f"{p.registry}/team/web:1@{p.first['digest']}")
    publish(p, "two", "team/web:1")
    moved = pull(p, "team/web:1")
    check(moved["cid"] != p.first["cid"], moved)
    equal(p.json(*wanted[:-1], "--plan", code=None)["pull"], None)
    # Pulled anew, and forgotten: what is deployed stays, also when it is changed and collected.
    p.json("compute", "image", "rm", f"{p.registry}/team/web:1", "--yes")
    p.json("compute", "image", "rm", f"{p.registry}/team/same", "--yes")
    for name in ("images/oci", "images/layout"):
        p.json("compute", "image", "rm", name, "--yes")
    p.json("storage", "gc", "--yes", "--grace", "0s")
    p.json("compute", "service", "update", "web", "--env", "A=1", "--yes", env=p.docker)
    versions = p.json("compute", "service", "history", "web")["items"]
    equal([v["image_cid"] for v in versions], [p.first["cid"]] * 2)
    p.json("storage", "ls", f"synor://{p.first['cid']}")
    # Deployed again by its tag it is what the tag is now.
    p.json(*wanted, env=p.docker)
    versions = p.json("compute", "service", "history", "web")["items"]
    equal(versions[-1]["image_cid"], moved["cid"])


@case
def a_file_names_images_of_registries(p):
    need(p)
    file = p.home / "compose.yaml"
    file.write_text(f"services:\n  filed:\n    image: {p.registry}/team/web:1\n    scale: 0\n")
    p.json("compute", "apply", "-f", file, "--yes", env=p.docker)
    image = p.json("compute", "service", "get", "filed")["spec"]["image"]
    check(image.startswith(f"{p.registry}/team/web:1@sha256:"), image)
    publish(p, "one", "team/web:1")  # the tag moves; what is deployed does not
    again = p.json("compute", "apply", "-f", file, "--yes", env=p.docker)
    equal([i["action"] for i in again["items"]], ["unchanged"], again)
    equal(p.json("compute", "service", "get", "filed")["spec"]["image"], image)


@case
def a_tenant_reaches_no_private_registry_unless_it_is_called_one(p):
    need(p)
    account = p.json("account", "create", "tenant")
    token = p.json("account", "token", "tenant", "--scope", "tenant")["token"]
    body = json.dumps({"ref": f"{p.registry}/team/web:1",
                       "credentials": {"username": USER, "password": PASSWORD}})
    headers = {"Authorization": f"Bearer {token}", "X-Synor-Account": account["id"]}

    def ask():
        def said():
            status, _, text = p.http("GET", f"/v1/images/pulls/{pulled['id']}?wait_ms=1000",
                                     headers=headers)
            equal(status, 200, text)
            found = json.loads(text)
            return found if found["state"] != "running" else None
        status, _, text = p.http("POST", "/v1/images", body, headers)
        equal(status in (200, 202), True, status, text)
        pulled = json.loads(text)
        return wait_until("the pull has ended", 60, said)

    refused = ask()
    equal(refused["error"]["code"], "forbidden", refused)
    (p.home / "registries.json").write_text(
        json.dumps({"registries": {p.registry: {"private": True}}}))
    equal(ask()["state"], "done")
    (p.home / "registries.json").write_text("{\"registries\": {\"x\": {\"mirror\": 1}}}")
    check("mirror" in ask()["error"]["message"])


@case
def the_registry_is_ended(p):
    need(p)
    p.serving.terminate()
    p.serving.wait(timeout=60)
    (p.home / "registries.json").unlink(missing_ok=True)
    said = p.error("compute", "image", "pull", f"{p.registry}/team/web:1", env=p.docker)
    equal(said["code"], "unavailable", said)


if __name__ == "__main__":
    run()
