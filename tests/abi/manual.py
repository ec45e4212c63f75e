"""The man pages of libsynor, as they are installed.

    manual.py MESON BUILD

Every header has a page, every function and public object leads to one; every page says what it is about in a form
that `man -k` reads, and formats without a warning by whichever of groff and mandoc are installed.
"""
import os
import re
import shutil
import sys

import installed
from installed import Failed, expect, run

import api


def pages(place):
    """{name: path}, "synor_task.3" for one."""
    found = {os.path.basename(path): path for path in place.files() if "/man/man" in path}
    if not found:
        raise Failed("no pages were installed")
    return found


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def check_complete(found):
    wanted = {f"synor_{os.path.basename(header).removesuffix('.h')}.3"
              for header in api.public(installed.ROOT)} | {"libsynor.7"}
    for header in api.public(installed.ROOT):
        for what, name, _, _ in api.items(api.read(installed.ROOT, header)):
            if what not in ("function", "inline", "data"):
                continue
            target = f"man3/synor_{os.path.basename(header).removesuffix('.h')}.3"
            if f"{name}.3" not in found or read(found[f"{name}.3"]) != f".so {target}\n":
                raise Failed(f"{name} does not lead to {target}")
            if f"\n.SS {name}\n" not in read(found[os.path.basename(target)]):
                raise Failed(f"{target} has nothing of {name}")
            wanted.add(f"{name}.3")
    if set(found) != wanted:
        raise Failed(f"missing or in excess: {sorted(set(found) ^ wanted)}")


def check_names(found):
    for name, path in found.items():
        text = read(path)
        if text.startswith(".so "):
            continue
        match = re.search(r"^\.SH NAME\n([\w, ]+) \\- \S.*$", text, re.M)
        if not match or name.rsplit(".", 1)[0] not in match[1].split(", "):
            raise Failed(f"NAME of {name}")
        for section in ("SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
            if f"\n.SH {section}\n" not in text:
                raise Failed(f"{name} has no {section}")
        if "@" in text:
            raise Failed(f"{name}: a mark was left: {re.search('.*@.*', text)[0]}")
    # Pages named by others are there, the system's aside.
    for name, path in found.items():
        for other, number in re.findall(r"^\.BR ([\w\\-]+) \((\d)\)", read(path), re.M):
            if other.startswith(("syn_", "synor_", "libsynor")) and f"{other}.{number}" not in found:
                raise Failed(f"{name} names {other}({number}), which is not there")


def check_format(found, words):
    if not shutil.which(words[0]):
        return f"no {words[0]}"
    for name, path in sorted(found.items()):
        if read(path).startswith(".so "):
            continue
        done = run([*words, path])
        expect(done, name)
        if done.stdout or done.stderr:
            raise Failed(f"{name}:\n{done.stdout}{done.stderr}")
    return None


def check_man(place, found):
    """What a person sees."""
    if not shutil.which("man"):
        return "no man"
    folder = os.path.dirname(os.path.dirname(found["libsynor.7"]))
    said = expect(run(["man", "-M", folder, "syn_task_submit"],
                      env=place.env | {"MANPAGER": "cat", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}),
                  "man syn_task_submit")
    for words in ("synor_task(3)", "syn_task_submit(struct syn_runtime *runtime", "SEE ALSO"):
        if words not in re.sub(".\b", "", said):
            raise Failed(f"no {words!r} in:\n{said}")
    return None


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    with installed.Installed(sys.argv[1], os.path.abspath(sys.argv[2])) as place:
        found = pages(place)
        return installed.report([
            ("every header and function has its page", lambda: check_complete(found)),
            ("pages say what they are about", lambda: check_names(found)),
            ("groff has nothing to say", lambda: check_format(
                found, ["groff", "-man", "-Tutf8", "-ww", "-z"])),
            ("mandoc has nothing to say", lambda: check_format(
                found, ["mandoc", "-T", "lint", "-W", "warning"])),
            ("man shows a function's page", lambda: check_man(place, found)),
        ])


if __name__ == "__main__":
    sys.exit(main())
