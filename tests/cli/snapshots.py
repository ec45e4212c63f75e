"""Commands and what they say, held against what is stored.

    snapshots.py SYNOR [--update] FILE...

A file is a row of cases, each "$ synor ARGUMENT...", the standard output, then "[stderr]" and the
standard error where there is some, then "[exit N]". Commands run in an empty folder with an empty
SYNOR_HOME, whose path reads HOME in what is stored. --update writes what is said now.
"""
import os
import shlex
import subprocess
import sys
import tempfile


def say(synor, command, folder):
    """What `command` says, in the form that is stored."""
    env = {"PATH": os.environ["PATH"], "HOME": folder, "SYNOR_HOME": os.path.join(folder, "home"),
           "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    env |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
    words = shlex.split(command)
    done = subprocess.run([synor, *words[1:]], text=True, capture_output=True, check=False,
                          cwd=folder, env=env, stdin=subprocess.DEVNULL, timeout=60)
    said = done.stdout
    if said and not said.endswith("\n"):
        said += "[no newline]\n"
    if done.stderr:
        said += "[stderr]\n" + done.stderr
    said += f"[exit {done.returncode}]\n"
    return said.replace(env["SYNOR_HOME"], "HOME")


def cases(text):
    """[(command, stored), ...]"""
    found = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), []))
        elif found:
            found[-1][1].append(line)
    return [(command, "".join(lines).removesuffix("\n\n") + "\n" if "".join(lines).endswith("\n\n")
             else "".join(lines)) for command, lines in found]


def first_difference(stored, said):
    old, new = stored.split("\n"), said.split("\n")
    for number, (a, b) in enumerate(zip(old + [""] * len(new), new + [""] * len(old)), 1):
        if a != b:
            return f"line {number}: stored \"{a}\", now \"{b}\""
    return "equal"


def main():
    words = sys.argv[1:]
    update = "--update" in words
    words = [word for word in words if word != "--update"]
    if len(words) < 2:
        print(__doc__)
        return 2
    synor, paths = os.path.abspath(words[0]), words[1:]
    number = failures = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            stored = cases(file.read())
        fresh = []
        for command, expected in stored:
            with tempfile.TemporaryDirectory() as folder:
                said = say(synor, command, folder)
            fresh.append(f"$ {command}\n{said}")
            number += 1
            if said != expected and not update:
                failures += 1
                print(f"not ok {number} - {command}")
                print(f"# {path}: {first_difference(expected, said)}")
            else:
                print(f"ok {number} - {command}")
        if update:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(fresh))
    print(f"1..{number}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
