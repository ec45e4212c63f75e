"""Completion as a person has it: keys typed into a real bash on a terminal.

    completion.py SYNOR

Each row is typed, completed with TAB and entered; a function in place of synor shows its words.
"""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

# What is typed, and the words that must come of it.
ROWS = [
    ("synor compute tr", "compute train"),
    ("synor compute train cre", "compute train create"),
    ("synor stor", "storage"),
    ("synor storage ver", "storage verify"),
    ("synor compute train create --optim", "compute train create --optimizer"),
    ("synor compute train create --framework tens", "compute train create --framework tensorflow"),
    ("synor storage put half-a-na", "storage put half-a-name.txt"),
    ("synor storage put --na", "storage put --name"),
    ("synor bill ver", "bill verify"),
    ("synor down --stop", "down --stop-jobs"),
]
WITHIN_S = 20


def read_until(fd, pattern, text=""):
    """What the terminal says until `pattern` is in it."""
    end = time.monotonic() + WITHIN_S
    while not re.search(pattern, text):
        if time.monotonic() > end or not select.select([fd], [], [], WITHIN_S)[0]:
            raise TimeoutError(f"no {pattern!r} in {text!r}")
        text += os.read(fd, 65536).decode(errors="replace")
    return text


def type_rows(fd):
    """[(typed, words that came), ...]"""
    for typed, _ in ROWS:
        os.write(fd, f"{typed}\t\n".encode())
        said = read_until(fd, r"words<[^>\n]*>")
        yield typed, re.search(r"words<([^>\n]*)>", said)[1].strip()


def check_syntax(synor, shell):
    """None, or why the script is no script of that shell."""
    script = subprocess.run([synor, "completion", shell], text=True, capture_output=True,
                            check=True)
    done = subprocess.run([shell, "-n"], input=script.stdout, text=True, capture_output=True,
                          check=False, timeout=WITHIN_S)
    return done.stderr if done.returncode else None


def main():
    synor = os.path.abspath(sys.argv[1])
    number = failures = 0
    for shell in ("bash", "zsh"):
        number += 1
        if not shutil.which(shell):
            print(f"ok {number} - syntax of {shell} # SKIP {shell} is not installed")
            continue
        problem = check_syntax(synor, shell)
        failures += problem is not None
        print(f"{'not ok' if problem else 'ok'} {number} - syntax of {shell}")
        if problem:
            print(f"# {problem}")
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"})
        folder = os.environ.get("MESON_TEST_FOLDER", "/")
        os.chdir(folder)
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        setup = ("stty -echo; PS1=; PS2=; unset PROMPT_COMMAND; bind 'set bell-style none'; "
                 "bind 'set enable-bracketed-paste off'; "
                 "cd \"$(mktemp -d)\"; touch half-a-name.txt; "
                 f"source <('{synor}' completion bash); "
                 "synor() { printf 'words<%s>\\n' \"$*\"; }; printf 'set%s\\n' up\n")
        os.write(fd, setup.encode())
        read_until(fd, "setup")
        for (typed, came), (_, want) in zip(type_rows(fd), ROWS):
            number += 1
            failures += came != want
            print(f"{'ok' if came == want else 'not ok'} {number} - {typed}")
            if came != want:
                print(f"# came \"{came}\", want \"{want}\"")
        os.write(fd, b"rm -rf \"$PWD\"; exit\n")
    finally:
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(f"1..{number}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
