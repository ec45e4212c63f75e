"""What the writers of traces write is what its format says, looked at by other programs.

    formats.py PROGRAM FOLDER

PROGRAM is trace_export_test, FOLDER its stored output. That, and what random data give, must be JSON
by Python's strict reading, XML by expat with every reference resolved, and DOT by a parser of its
grammar, and by graphviz itself where it is installed.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

SEEDS = (1, 2, 3, 17)
PHASES = {"M", "X", "s", "f", "C", "i"}
SVG = "{http://www.w3.org/2000/svg}"
TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(->|[{}\[\];=])|([A-Za-z_]\w*|-?\d+(?:\.\d+)?))', re.S)


def refuse(what):
    raise ValueError(what)


def strict(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        refuse(f"a key twice among {keys}")
    return dict(pairs)


def load(text):
    return json.loads(text, object_pairs_hook=strict,
                      parse_constant=lambda name: refuse(f"{name} is no JSON"))


def check_chrome(text):
    events = load(text)["traceEvents"]
    slices, named, arrows = {}, set(), {}
    for event in events:
        where = (event["pid"], event["tid"])
        if event["ph"] not in PHASES:
            refuse(f"phase {event['ph']}")
        if event["ph"] == "M" and event["name"] == "thread_name":
            named.add(where)
        elif event["ph"] == "X":
            if event["ts"] < 0 or event["dur"] < 0:
                refuse(f"times of {event}")
            slices.setdefault(where, []).append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] in "sf":
            arrows.setdefault(event["id"], {})[event["ph"]] = event
    if not set(slices) <= named:
        refuse(f"tracks without a name: {set(slices) - named}")
    for number, ends in arrows.items():
        if set(ends) != {"s", "f"}:
            refuse(f"arrow {number} has one end")
        for end in ends.values():
            if not any(first <= end["ts"] <= last
                       for first, last in slices[(end["pid"], end["tid"])]):
                refuse(f"arrow {number} ends where nothing is: {end}")


def check_stats(text):
    stats = load(text)
    for key in ("workers", "kernels", "transfers", "devices"):
        if not isinstance(stats[key], list):
            refuse(f"{key} is no list")


def check_gantt(text):
    root = ElementTree.fromstring(text)
    width, height = (float(root.get(key)) for key in ("width", "height"))
    patterns = {f"url(#{pattern.get('id')})" for pattern in root.iter(f"{SVG}pattern")}
    for rect in root.iter(f"{SVG}rect"):
        fill = rect.get("fill", "")
        if fill.startswith("url") and fill not in patterns:
            refuse(f"no {fill}")
        if rect.get("x") is None:
            continue
        right = float(rect.get("x")) + float(rect.get("width"))
        low = float(rect.get("y")) + float(rect.get("height"))
        # Half a pixel more than the plot for what happens at its very end.
        if right > width or low > height:
            refuse(f"outside of the picture: {rect.attrib}")
    if root.find(f"{SVG}title").text == "" or not list(root.iter(f"{SVG}text")):
        refuse("nothing to read")


def tokens_of(text):
    at, found = 0, []
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if not match:
            refuse(f"no DOT: {text[at:at + 40]!r}")
        found.append(match[1] or match[2] or match[3])
        at = match.end()
    return found


def is_id(token):
    return bool(re.match(r'["\w-]', token)) and token != "->"


def parse_attributes(tokens, at):
    if tokens[at] != "[":
        return at
    at += 1
    while tokens[at] != "]":
        if not (is_id(tokens[at]) and tokens[at + 1] == "=" and is_id(tokens[at + 2])):
            refuse(f"attribute {tokens[at:at + 3]}")
        at += 3
    return at + 1


def check_dot(text):
    tokens = tokens_of(text)
    if tokens[0] != "digraph" or not is_id(tokens[1]) or tokens[2] != "{" or tokens[-1] != "}":
        refuse("no digraph")
    at, nodes, edges = 3, set(), set()
    while at < len(tokens) - 1:
        if not is_id(tokens[at]):
            refuse(f"statement at {tokens[at:at + 5]}")
        name, at = tokens[at], at + 1
        if tokens[at] == "->":
            edges.add((name, tokens[at + 1]))
            at += 2
        else:
            nodes.add(name)
        at = parse_attributes(tokens, at)
        if tokens[at] != ";":
            refuse(f"no end of a statement: {tokens[at - 3:at + 1]}")
        at += 1
    loose = {end for edge in edges for end in edge} - nodes
    if loose:
        refuse(f"arrows to what is not described: {loose}")
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tplain"], input=text, text=True, capture_output=True,
                              check=False, timeout=120)
        if done.returncode or done.stderr:
            refuse(f"graphviz: {done.stderr}")


def check_text(text):
    if any(ord(c) < 0x20 and c != "\n" for c in text):
        refuse("control characters")
    if any(line != line.rstrip() for line in text.split("\n")):
        refuse("blanks at the end of a line")


CHECKS = {"chrome.json": check_chrome, "stats.json": check_stats, "gantt.svg": check_gantt,
          "graph.dot": check_dot, "stats.txt": check_text}


def check_folder(folder):
    """[(file, why it is wrong or None)]"""
    for name, check in sorted(CHECKS.items()):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        try:
            check(text)
            yield name, None
        except (ValueError, KeyError, ElementTree.ParseError) as error:
            yield name, f"{type(error).__name__}: {error}"


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    program, stored = sys.argv[1:]
    results = [(f"stored, {name}", why) for name, why in check_folder(stored)]
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([program, "--emit", folder, str(seed)], check=True, timeout=120)
            results += [(f"seed {seed}, {name}", why) for name, why in check_folder(folder)]
    failures = 0
    print(f"1..{len(results)}")
    for number, (name, why) in enumerate(results, 1):
        print(f"{'not ok' if why else 'ok'} {number} - {name}")
        if why:
            failures += 1
            print("".join(f"# {line}\n" for line in why.split("\n")), end="")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
