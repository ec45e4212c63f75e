"""synor sim: what it says as text, as JSON and as a picture, and what it refuses.

    sim.py SYNOR [NAME...]

Needs no platform. NAME...: only these cases.
"""
import json
import os
import pty
import subprocess
import sys
import tempfile
import traceback
from xml.dom import minidom

SYNOR = os.path.abspath(sys.argv[1])
CASES = []
NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,A10\nn2,64000,262144,2,T4\n"
PODS = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n"
        "a,4000,8192,1,1000,,0,3600\nb,4000,8192,2,1000,T4,60,120\nc,2000,4096,1,250,A10|T4,60,90\n")


def case(function):
    CASES.append(function)
    return function


def run(*words, code=0):
    """What `sim` of these words said; its exit status is looked at here."""
    done = subprocess.run([SYNOR, "sim", *words], text=True, capture_output=True, check=False,
                          timeout=120)
    assert done.returncode == code, f"{words}: exit {done.returncode}, not {code}\n{done}"
    return done


def run_json(*words, **kwargs):
    return json.loads(run(*words, "--json", **kwargs).stdout)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def files(folder, nodes=NODES, pods=PODS):
    return ["--nodes", write(folder, "nodes.csv", nodes),
            "--workload", write(folder, "pods.csv", pods)]


@case
def by_times(folder):
    said = run_json(*files(folder))
    assert (said["mode"], said["nodes"], said["cards"]) == ("times", 2, 4), said
    assert (said["placed"], said["finished"], said["waiting"]) == (3, 3, 0), said
    assert said["duration_ms"] == 3600000 and said["wait_ms"]["max"] == 0, said
    assert said["energy"]["joules"] > 0 and said["decisions"]["per_second"] > 0, said
    # An hour of four cores, eight GB and a card; and the two that were short.
    total = said["cost_synor"]["total"]
    assert 0.1 < total < 2.5, said
    assert said["failures"] is None and said["spot"] is None, said


@case
def arrivals_make_a_curve_and_a_picture(folder):
    picture = os.path.join(folder, "plot.svg")
    said = run_json(*files(folder), "--arrivals", "200", "--plot", picture)
    assert said["mode"] == "arrivals" and said["refused"] > 0, said
    assert said["allocation"]["asked_percent"] <= 200, said
    given = [point[1] for point in said["curve"]]
    assert given == sorted(given) and given[-1] == said["allocation"]["end_percent"], said
    assert said["wait_ms"] is None and said["cost_synor"] is None, said
    drawn = minidom.parse(picture).documentElement
    lines = [path for path in drawn.getElementsByTagName("path")
             if path.getAttribute("class") == "line"]
    assert len(lines) == 1 and lines[0].getAttribute("d").count("L") == len(given), drawn


@case
def everything_at_once(_):
    words = ["--nodes", "gen:30", "--workload", "gen:500", "--failures", "20", "--repair", "2h",
             "--spot", "--learn", "--seed", "7", "--policy", "price"]
    one, two = run_json(*words), run_json(*words)
    for said in (one, two):
        assert said["decisions"].pop("per_second") > 0, said
        said["decisions"].pop("changes_ms")
    assert one == two, "the same seed, another report"
    assert one["finished"] + one["waiting"] == 500 and one["failures"]["nodes"] > 0, one
    spot = one["spot"]
    assert spot["hours_bought"] > 0 and one["cost_synor"]["spot"] > 0, one
    assert spot["notices"] >= spot["interrupted"] >= spot["resumed"] > 0, spot
    at_once = run_json(*words, "--notice", "0s")["spot"]
    assert at_once["notices"] == 0 and at_once["interrupted"] > spot["interrupted"], at_once
    text = run(*words).stdout
    for word in ("wait, p99", "spot notices", "spot interruptions", "resumed",
                 "failed nodes", "gpu/G2/sim/hour", "SYNOR", "fragmentation, mean", "decisions"):
        assert word in text, (word, text)
    assert run_json(*words[:-4], "--seed", "8") != one


@case
def standard_input_and_what_waits(folder):
    vast = PODS + "d,4000,8192,3,1000,,0,3600\ne,4000,8192,3,1000,,0,3600\n"
    words = files(folder, pods=vast)
    for nodes, pods, text in (("-", words[3], NODES), (words[1], "-", vast)):
        done = subprocess.run([SYNOR, "sim", "--nodes", nodes, "--workload", pods], text=True, input=text,
                              capture_output=True, check=True, timeout=120)
        assert "WAITING" in done.stdout and " 2    4  8.0 GiB     3" in done.stdout, done
    said = run_json(*words)
    assert said["waiting"] == 2 and len(said["waiting_for"]) == 1, said
    assert said["waiting_for"][0]["pods"] == 2 and said["waiting_for"][0]["why"], said
    assert "standard input" in run("--nodes", "-", "--workload", "-", code=2).stderr


@case
def progress_on_a_terminal(_):
    ours, theirs = pty.openpty()
    with subprocess.Popen([SYNOR, "sim", "--nodes", "gen:1000", "--workload", "gen:40000", "--spot",
                           "--json"], stdout=subprocess.PIPE, stderr=theirs, text=True) as done:
        os.close(theirs)
        assert json.loads(done.stdout.read())["arrived"] == 40000
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert done.returncode == 0 and shown.count(b"Simulating [") > 2, shown
    assert shown.endswith(b"] 100 %\r\n"), shown
    quiet = run("--nodes", "gen:20", "--workload", "gen:200")
    assert quiet.stderr == "", "progress of what took no time"


@case
def every_policy(_):
    for policy in ("balanced", "binpack", "spread", "fragmentation", "latency", "energy", "price"):
        said = run_json("--nodes", "gen:20", "--workload", "gen:200", "--arrivals", "90",
                        "--policy", policy)
        assert said["policy"] == policy and said["allocation"]["end_percent"] > 50, said


def text(folder, **kwargs):
    """Files in a folder of their own."""
    return files(tempfile.mkdtemp(dir=folder), **kwargs)


@case
def what_is_wrong_is_named_and_nothing_written(folder):
    picture = os.path.join(folder, "never.svg")
    good = files(folder)
    rows = [
        (text(folder, pods=PODS + "d,1,1,1,2000,,0,1\n"), "pods.csv:5: gpu_milli: too large"),
        (text(folder, pods=PODS + "d,-1,1,0,0,,0,1\n"), "pods.csv:5: cpu_milli: below 0"),
        (text(folder, pods=PODS + "d,1,1,1,500,Z80,0,1\n"), "pods.csv:5: gpu_spec: unknown model"),
        (text(folder, nodes=NODES + "n1,1,1,0,\n"), "nodes.csv:4: sn: node 'n1' is there already"),
        (text(folder, nodes=NODES + "n3,1\n"), "nodes.csv:4: fewer than the 5 fields"),
        (["--nodes", "gen:0", "--workload", "gen:5"], "nodes"),
        (["--nodes", "gen:300000", "--workload", "gen:5"], "gen:300000"),
        (["--nodes", "gen:x", "--workload", "gen:5"], "nodes"),
        ([*good, "--arrivals", "100", "--spot"], "arrivals"),
        ([*good, "--policy", "best"], "best"),
        ([*good, "--failures", "0"], "failures"),
        ([*good, "--spot", "--notice", "2h"], "notice"),
        ([*good, "--notice", "1m"], "notice: without --spot"),
        ([*good, "--repair", "1m"], "repair: without --failures"),
        (good[:2], "workload"),
    ]
    for words, said in rows:
        told = run(*words, "--plot", picture, code=2)
        assert said in told.stderr, (words, said, told.stderr)
        assert json.loads(run(*words, "--json", code=2).stdout)["code"] == "invalid", words
        assert not os.path.exists(picture), words
    assert run_json("--nodes", "/no/such", "--workload", "gen:5", code=1)["code"] == "not-found"


def main():
    wanted = sys.argv[2:]
    cases = [one for one in CASES if not wanted or one.__name__ in wanted]
    failures = 0
    print(f"1..{len(cases)}")
    for number, one in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                one(folder)
                print(f"ok {number} - {one.__name__}")
            except Exception:  # pylint: disable=broad-except
                failures += 1
                print(f"not ok {number} - {one.__name__}")
                print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
