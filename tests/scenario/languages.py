"""Functions by their languages: what a node has, layers of dependencies, compiled programs."""
import http.client
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import zipfile

from harness import (SOURCE, Platform, Skip, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)

FUNCTION = ("compute", "function")
EXAMPLES = SOURCE / "examples" / "functions"
PORT = 0


def has(program):
    return shutil.which(program, path="/usr/bin:/usr/local/bin") is not None


def need(p, *programs):
    need_sandbox(p)
    need_networks(p)
    for program in programs:
        if not has(program):
            raise Skip(f"there is no {program} here")


def deploy(p, name, runtime, *options, code=0):
    return p.json(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, *options, "--cpu", "0.3",
                  "--max-instances", "1", "--yes", code=code)


def call(path):
    """The answer's status and body, by HTTP."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    link.request("GET", path)
    answer = link.getresponse()
    return answer.status, answer.read()


@case
def a_node_tells_its_languages(p):
    p.start()
    found = {row["name"]: row for row in p.wait_node()["status"]["languages"]}
    for name, program, flag in (("python", "python3", "Python "), ("node", "node", "v"),
                                ("ruby", "ruby", "ruby ")):
        path = f"/usr/bin/{program}"
        if not has(program) or str(pathlib.Path(path).resolve())[:5] != "/usr/":
            continue
        said = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
        number = re.match(r"[0-9.]+", said.removeprefix(flag)).group()
        equal((found[name]["version"], found[name]["path"]), (number, path))


@case
def javascript_answers(p):
    need(p, "node")
    deploy(p, "js", "node", "--code", EXAMPLES / "node", "--env", "GREETING=Hej", "--trigger",
           "http:/js/{name}")
    wait_until("it answers", 20, lambda: call("/js/Ada")[0] == 200)
    status, body = call("/js/Ada")
    equal((status, json.loads(body)["greeting"]), (200, "Hej, Ada!"), body)
    equal(json.loads(p.cli(*FUNCTION, "invoke", "js", "--data", "[1]").out), {"got": [1]})


def gems(folder):
    """A source of gems that bundler reads without asking anybody; one gem is in it."""
    lib = folder / "greeting" / "lib"
    lib.mkdir(parents=True)
    (lib / "greeting.rb").write_text("WORD = 'of the layer'\n")
    (lib.parent / "greeting.gemspec").write_text(
        "Gem::Specification.new { |s| s.name = 'greeting'; s.version = '1.0'; s.summary = 'a word'\n"
        "  s.authors = ['A']; s.files = ['lib/greeting.rb'] }\n")
    (folder / "source" / "gems").mkdir(parents=True)
    for command, where in ((["build", "greeting.gemspec", "-o", folder / "source/gems/greeting-1.0.gem"],
                            lib.parent), (["generate_index", "-d", "."], folder / "source")):
        done = subprocess.run(["gem", *command], cwd=where, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Skip(f"gem {command[0]}: {done.stderr.strip()}")
    return f"source 'file://{folder}/source'\ngem 'greeting'\n"


@case
def ruby_answers_with_its_gems(p):
    need(p, "ruby", "gem", "bundle")
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    code = shutil.copytree(EXAMPLES / "ruby", folder / "code")
    with (code / "main.rb").open("a") as file:
        file.write("require 'greeting'\ndef layered(event, context) = WORD\n")
    (code / "Gemfile").write_text(gems(folder))
    deploy(p, "rb", "ruby", "--code", code, "--dependencies", code / "Gemfile", "--handler",
           "main.layered")
    equal(p.cli(*FUNCTION, "invoke", "rb", "--data", "1").out, "of the layer")
    deploy(p, "rb", "ruby", "--code", code, "--dependencies", code / "Gemfile", "--trigger",
           "http:/rb/{name}")
    wait_until("it answers", 20, lambda: call("/rb/Ada")[0] == 200)
    equal(json.loads(call("/rb/Ada")[1])["greeting"], "Hello, Ada!")
    p.cli(*FUNCTION, "delete", "rb", "--yes", "--no-wait")


@case
def java_answers(p):
    need(p, "java", "javac", "jar")
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    subprocess.run(["javac", "--release", "17", "-d", folder / "classes",
                    EXAMPLES / "java" / "Main.java"], check=True)
    subprocess.run(["jar", "--create", "--file", folder / "hello.jar", "--main-class", "Main", "-C",
                    folder / "classes", "."], check=True)
    deploy(p, "jvm", "java", "--code", folder / "classes", "--trigger", "http:/jvm")
    wait_until("it answers", 20, lambda: call("/jvm") == (200, b"Hello from Java: /jvm\n"))
    deploy(p, "jvm", "java", "--code", folder / "hello.jar", "--trigger", "http:/jar")
    wait_until("it answers", 20, lambda: call("/jar") == (200, b"Hello from Java: /jar\n"))
    p.cli(*FUNCTION, "delete", "jvm", "--yes", "--no-wait")


@case
def a_compiled_program_answers(p):
    need(p, "cc")
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    subprocess.run(["cc", "-o", folder / "hello", EXAMPLES / "c" / "main.c"], check=True)
    deploy(p, "c", "c", "--code", folder / "hello", "--trigger", "http:/c")
    wait_until("it answers", 20, lambda: call("/c") == (200, b"Hello from C: /c\n"))


def wheel(folder):
    """A package that pip installs without asking anybody."""
    path = folder / "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("greeting.py", "word = 'of the layer'\n")
        file.writestr("greeting-1.0.dist-info/METADATA",
                      "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        file.writestr("greeting-1.0.dist-info/WHEEL",
                      "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("greeting-1.0.dist-info/RECORD", "")
    return path


@case
def what_a_function_depends_on_is_a_layer(p):
    need(p, "python3")
    if subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True,
                      check=False).returncode != 0:
        raise Skip("there is no pip here")
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / "code").mkdir()
    (folder / "code" / "main.py").write_text(
        "import greeting\ndef handler(event, context):\n    return greeting.word\n")
    listed = folder / "requirements.txt"
    listed.write_text(f"{wheel(folder)}\n")
    made = p.cli(*FUNCTION, "deploy", "--name", "layered", "--runtime", "python3", "--code",
                 folder / "code", "--dependencies", listed, "--cpu", "0.3", "--yes")
    check("Installing what" in made.err, made)
    equal(p.cli(*FUNCTION, "invoke", "layered", "--data", "1").out, "of the layer")
    again = p.cli(*FUNCTION, "deploy", "--name", "layered", "--runtime", "python3", "--code",
                  folder / "code", "--dependencies", listed, "--cpu", "0.3", "--yes")
    check("is installed already" in again.err, again)
    listed.write_text("no-such-package-at-all @ file:///nowhere.whl\n")
    wrong = p.cli(*FUNCTION, "deploy", "--name", "other", "--runtime", "python3", "--code",
                  folder / "code", "--dependencies", listed, "--yes", code=2)
    check("--dependencies: " in wrong.err and "pip could not install" in wrong.err, wrong)


@case
def what_no_node_has_waits(p):
    need(p)
    if has("node18"):
        raise Skip("this machine has what nobody should have")
    p.cli(*FUNCTION, "deploy", "--name", "old", "--runtime", "python39", "--code",
          EXAMPLES / "python", "--yes", "--no-wait")
    explained = wait_until("it is explained", 20, lambda: next(
        (each for each in [p.json(*FUNCTION, "explain", "old", code=None)]
         if "runtime" in json.dumps(each["why"])), None))
    text = json.dumps(explained)
    check("has no python 3.9" in text and "apt-get install python3" in text, explained)
    p.cli(*FUNCTION, "deploy", "--name", "forked", "--runtime", "python3", "--isolation", "namespace",
          "--code", EXAMPLES / "python", "--yes", "--no-wait")
    text = wait_until("it is explained", 20, lambda: next(
        (each for each in [p.cli(*FUNCTION, "explain", "forked", code=None).out]
         if "namespace" in each), None))
    check("--allow-namespace-sandbox" in text, text)
    refused = p.error("compute", "service", "deploy", "--name", "own", "--image", "host", "--yes",
                      code=2)["message"]
    check("services do not run on" in refused, refused)


@case
def nothing_of_them_stays(p):
    for function in p.json(*FUNCTION, "list")["items"]:
        p.cli(*FUNCTION, "delete", function["name"], "--yes", "--no-wait")
    wait_until("they are gone", 60, lambda: not p.json(*FUNCTION, "list")["items"])


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}"))
