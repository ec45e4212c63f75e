"""compute run-graph on this machine: equal results whoever decides and whoever computes, what it
says of modelled devices and of failures, and what it refuses.

    run_graph.py SYNOR EXAMPLES [NAME...]

Needs no platform. NAME...: only these cases.
"""
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import traceback
from xml.dom import minidom

SYNOR, GRAPHS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
RESULTS = {"gemm-chain": ["c22", "l21", "total"], "stencil": ["drift", "field", "least", "most"],
           "fft-sort": ["spectrum", "again", "keys", "largest", "sum"]}
CASES = []
# PoCL's LLVM takes over each thread's alternate stack, which AddressSanitizer would give back.
ENV = os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":use_sigaltstack=0"}


def case(function):
    CASES.append(function)
    return function


def run(*words, code=0, text=None, **kwargs):
    """What `compute run-graph` of these words said; its exit status is looked at here."""
    done = subprocess.run([SYNOR, "compute", "run-graph", *words], text=True, input=text,
                          capture_output=True, check=False, timeout=120, env=ENV, **kwargs)
    assert done.returncode == code, f"{words}: exit {done.returncode}, not {code}\n{done}"
    return done


def run_json(*words, **kwargs):
    return json.loads(run(*words, "--json", **kwargs).stdout)


def graph(name):
    return os.path.join(GRAPHS, name + ".json")


def wanted(name):
    return [word for result in RESULTS[name] for word in ("--result", result)]


def results(name, *words):
    return {one["tensor"]: one for one in run_json(graph(name), *wanted(name), *words)["results"]}


def flat(value):
    """The numbers of a nested list."""
    if isinstance(value, list):
        return [number for one in value for number in flat(one)]
    return [] if value is None else [value]


def assert_close(got, want, where):
    """Integers exactly; others as far as another order of the same sums goes."""
    assert set(got) == set(want), (where, set(got), set(want))
    for tensor, one in want.items():
        other = got[tensor]
        for key in ("dtype", "shape", "bytes", "nan"):
            assert other[key] == one[key], (where, tensor, key, other, one)
        if one["dtype"].startswith("int"):
            assert other == one, (where, tensor, other, one)
        scale = max(abs(number) for key in ("min", "max", "first") for number in flat(one.get(key)))
        count = math.prod(one["shape"])
        for key, slack in (("min", 1), ("max", 1), ("first", 1), ("sum", count)):
            pairs = list(zip(flat(other.get(key)), flat(one.get(key)), strict=True))
            for a, b in pairs:
                assert abs(a - b) <= 1e-4 * slack * max(scale, 1e-6), (where, tensor, key, a, b)


def strategies():
    text = subprocess.run([SYNOR, "compute", "run-graph", "--help"], capture_output=True, text=True,
                          check=True).stdout
    names = re.search(r"--strategy.*?\(([^)]*)\)", text, re.S)[1]
    return [name.strip() for name in names.split(",")]


def write(folder, name, document):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(document if isinstance(document, str) else json.dumps(document))
    return path


def document(tensors, tasks):
    return {"version": 1, "tensors": tensors, "tasks": tasks}


# --- results --------------------------------------------------------------------------------------


@case
def every_strategy_gives_the_same():
    names = strategies()
    assert len(names) > 5 and "heft" in names, names
    for name in RESULTS:
        want = results(name, "--workers", "1", "--devices", "cpu0", "--pieces", "1")
        for strategy in names:
            got = results(name, "--strategy", strategy, "--modelled", "h100-sxm,tpu-v4")
            assert_close(got, want, (name, strategy))


@case
def a_plan_runs_nothing():
    for name in RESULTS:
        for strategy in strategies():
            plan = run_json(graph(name), "--modelled", "h100-sxm", "--strategy", strategy, "--plan")
            assert plan["plan"] and plan["strategy"] == strategy, plan
            assert plan["makespan_ns"] == max(task["end_ns"] for task in plan["tasks"]), plan
            for task in plan["tasks"]:
                took = task["end_ns"] - task["begin_ns"]
                estimate = task["estimates_ns"][task["device"]]
                assert abs(took - estimate) <= 1 + estimate / 100, task
            assert sum(one["tasks"] for one in plan["workers"]) == len(plan["tasks"]), plan
    text = run(graph("gemm-chain"), "--plan").stdout
    assert "Nothing ran." in text and "ON cpu0" in text, text
    for words in (["--result", "total"], ["--gantt", "x.svg"], ["--repeat", "2"], ["--pieces", "2"]):
        refused = run(graph("gemm-chain"), "--plan", *words, code=2)
        assert words[0] in refused.stderr, refused


@case
def every_device_gives_the_same():
    there = subprocess.run([SYNOR, "compute", "devices", "list", "--json"], capture_output=True,
                           text=True, check=True, env=ENV).stdout
    real = [one["id"] for one in json.loads(there)["items"] if not one["modelled"]]
    for name in RESULTS:
        want = results(name, "--workers", "1", "--devices", "cpu0", "--pieces", "1")
        for devices in [*real, "modelled0", ",".join([*real, "modelled0", "modelled1"])]:
            for pieces in ("1", "3", "auto"):
                got = results(name, "--devices", devices, "--modelled", "h100-sxm,h100-sxm",
                              "--pieces", pieces)
                assert_close(got, want, (name, devices, pieces))


@case
def the_numbers_are_right():
    """Against what Python makes of the same tensors."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "x.bin"), "wb") as file:
            file.write(struct.pack("<6d", 3, -1, 2.5, math.inf, -7, math.nan))
        path = write(folder, "graph.json", document(
            {"x": {"dtype": "fp64", "shape": [2, 3], "init": {"file": "x.bin"}},
             "n": {"dtype": "int64", "shape": [5], "init": "iota"},
             "m": {"dtype": "int64", "shape": [5], "init": "ones"},
             "t": {"dtype": "fp32", "shape": [2, 2], "layout": "columns", "init": "iota"}},
            [{"name": "add", "kernel": "axpy", "args": {"x": "n", "y": "m"}, "params": {"a": 2},
              "repeat": 3}]))
        said = run_json(path, "--result", "x", "--result", "m", "--result", "t", "--repeat", "2")
        x, m, t = said["results"]
        assert x["first"] == [3, -1, 2.5, None, -7, None], x
        assert (x["nan"], x["min"], x["max"], x["sum"]) == (1, -7, None, None), x
        # 2 rounds of 3 calls, each adding 2 i
        assert m["first"] == [1 + 12 * i for i in range(5)], m
        assert (m["min"], m["max"], m["sum"]) == (1, 49, 125), m
        assert t["first"] == [0, 1, 2, 3] and t["bytes"] == 16, t
        hash_ = 0xcbf29ce484222325
        for byte in struct.pack("<4f", 0, 2, 1, 3):
            hash_ = (hash_ ^ byte) * 0x100000001b3 % 2**64
        assert t["fnv1a64"] == f"{hash_:016x}", t
        assert said["calls"]["submitted"] == 6 and len(said["rounds_ns"]) == 2, said
        assert sum(said["rounds_ns"]) == said["elapsed_ns"], said


# --- what is told ---------------------------------------------------------------------------------


@case
def modelled_is_marked_everywhere():
    with tempfile.TemporaryDirectory() as folder:
        out = {kind: os.path.join(folder, kind) for kind in ("trace", "gantt", "dot")}
        pictures = [word for kind, path in out.items() for word in ("--" + kind, path)]
        words = [graph("fft-sort"), "--modelled", "h100-sxm", "--devices", "modelled0"]
        said = run_json(*words, *pictures)
        assert [one["device"] for one in said["workers"]] == ["modelled0"], said
        worker = said["workers"][0]
        assert worker["modelled"] is True and worker["tasks"] == 7, worker
        assert worker["energy_source"] == "modelled" and worker["energy_uj"] > 0, worker
        assert worker["busy_ns"] > 0 and not worker["lost"] and worker["reason"] is None, worker
        assert all(one["modelled"] for one in said["kernels"]), said["kernels"]
        counts = {one["kernel"]: one["count"] for one in said["kernels"]}
        assert counts == {"fft": 2, "axpy": 2, "sort": 1, "reduce": 2}, counts
        for one in said["kernels"]:
            assert 0 < one["p50_ns"] <= one["p95_ns"] <= one["max_ns"], one
            assert one["mean_ns"] <= one["max_ns"] and one["failed"] == 0, one
        assert said["transfers"]["copies"] > 0 and said["events_dropped"] == 0, said
        assert said["failed"] == [] and "code" not in said, said
        texts = {kind: open(path, encoding="utf-8").read() for kind, path in out.items()}
        assert all("modelled" in text for text in texts.values()), texts
        assert json.loads(texts["trace"])["traceEvents"]
        assert minidom.parseString(texts["gantt"]).documentElement.tagName == "svg"
        assert texts["dot"].startswith("digraph"), texts["dot"]
        assert sorted(os.listdir(folder)) == sorted(out), "something was left behind"
        people = run(*words, "--result", "sum").stdout
        rows = [line for line in people.splitlines() if "modelled0" in line]
        assert len(rows) == 5 and all("modelled" in row.split("modelled0")[1] for row in rows), rows
        assert re.search(r"^sum: int32 \[\]  min -?\d+ ", people, re.M), people


@case
def real_devices_are_not_marked():
    said = run_json(graph("stencil"), "--devices", "cpu0", "--workers", "2")
    assert [one["device"] for one in said["workers"]] == ["cpu0", "cpu0"], said
    assert not any(one["modelled"] for one in said["workers"] + said["kernels"]), said
    assert said["calls"]["submitted"] == 10, said
    assert sum(one["tasks"] for one in said["workers"]) >= 10, said  # pieces count too
    assert "modelled" not in run(graph("stencil"), "--devices", "cpu0").stdout.replace(
        " modelled ", " "), "more than the source of energy is modelled"


@case
def standard_input_and_a_pipe_do():
    with open(graph("stencil"), encoding="utf-8") as file:
        text = file.read()
    assert run_json("-", "--result", "most", text=text)["results"][0]["tensor"] == "most"
    done = run(graph("stencil"), "--dot", "/dev/stdout", "--json")
    assert done.stdout.startswith("digraph") and done.stdout.rstrip().endswith("}"), done
    assert os.path.islink("/dev/stdout")


@case
def what_was_learnt_is_kept():
    with tempfile.TemporaryDirectory() as folder:
        models = os.path.join(folder, "models")
        words = [graph("gemm-chain"), "--models", models, "--pieces", "1", "--devices",
                 "cpu0", "--json"]
        run(*words)
        first = open(models, encoding="utf-8").read()
        assert "gemm" in first and first.startswith("synor-model"), first
        run(*words)
        second = open(models, encoding="utf-8").read()
        samples = [[int(n) for n in re.findall(r"^time \d+ (\d+)", text, re.M)]
                   for text in (first, second)]
        assert sum(samples[1]) == 2 * sum(samples[0]), samples
        other = ["--modelled", "h100-sxm", "--devices", "modelled0"]
        run(*words[:5], *other)
        both = open(models, encoding="utf-8").read()
        times = re.findall(r"^time .*", second, re.M)
        assert len(re.findall(r"^class ", both, re.M)) == 2 and "modelled:h100-sxm" in both, both
        kept = sum(int(n) for n in re.findall(r"^time \d+ (\d+)", both, re.M))
        assert times and kept == sum(samples[1]) + 6, (second, both)
        write(folder, "models", "synor-model 99\n")
        done = run(*words, code=2)
        assert models in done.stderr and "delete it" in done.stderr, done
        write(folder, "models", "nonsense\n")
        done = run(*words, code=1)
        assert models in done.stderr and json.loads(done.stdout)["code"] == "corrupt", done
        assert open(models, encoding="utf-8").read() == "nonsense\n", "it was overwritten"


@case
def little_memory_evicts():
    want = results("fft-sort", "--devices", "cpu0")
    words = ["--modelled", "h100-sxm", "--devices", "modelled0", "--device-memory", "700kb"]
    said = run_json(graph("fft-sort"), *words, "--repeat", "2")
    assert said["transfers"]["evictions"] > 0, said["transfers"]
    assert_close(results("fft-sort", *words), want, "evicted")


# --- failures -------------------------------------------------------------------------------------


@case
def what_fails_is_named_with_what_needed_it():
    tensors = {name: {"dtype": "fp32", "shape": [100000]} for name in ("big", "more")}
    tensors |= {"big": tensors["big"] | {"init": "ones"}, "more": tensors["more"] | {"init": "ones"},
                "small": {"dtype": "fp32", "shape": [10], "init": "iota"},
                "out": {"dtype": "fp32", "shape": []}, "fine": {"dtype": "fp32", "shape": []}}
    tasks = [{"name": "too-much", "kernel": "axpy", "args": {"x": "big", "y": "more"}},
             {"name": "needs-it", "kernel": "reduce", "args": {"x": "more", "out": "out"}},
             {"name": "alone", "kernel": "reduce", "args": {"x": "small", "out": "fine"}}]
    words = ["--modelled", "h100-sxm", "--devices", "modelled0", "--device-memory", "500kb"]
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "graph.json", document(tensors, tasks))
        said = run_json(path, *words, "--repeat", "5", "--result", "fine", code=1)
        failed = {one["name"]: one for one in said["failed"]}
        assert "too-much" in failed and "alone" not in failed, said["failed"]
        assert failed["too-much"]["because_of"] is None, failed
        assert failed["too-much"]["code"] == said["code"] == "no-space", said
        if "needs-it" in failed:
            assert failed["needs-it"]["because_of"] == "too-much", failed
        assert "no room" in said["message"] and len(said["rounds_ns"]) == 1, said
        done = run(path, *words, code=1)
        assert "too-much (axpy): no-space" in done.stderr, done.stderr
        assert "synor: axpy: " in done.stderr and "KERNEL" in done.stdout, done


@case
def what_nothing_can_run_is_named():
    tasks = [{"name": "odd", "kernel": "reduce", "args": {"x": "a", "out": "b"}}]
    tensors = {"a": {"dtype": "fp64", "shape": [4], "init": "ones"},
               "b": {"dtype": "fp64", "shape": []}}
    text = json.dumps(document(tensors, tasks))
    said = run_json("-", "--modelled", "tpu-v4", "--devices", "modelled0", code=1, text=text)
    assert said["code"] == "unavailable" and said["message"].startswith("odd: "), said
    assert [one["name"] for one in said["failed"]] == ["odd"], said


@case
def a_result_that_nobody_wrote_is_refused():
    tensors = {"a": {"dtype": "int32", "shape": [4], "init": "ones"},
               "b": {"dtype": "int32", "shape": [4]}}
    text = json.dumps(document(tensors, [{"kernel": "sort", "args": {"x": "a"}}]))
    said = run_json("-", "--result", "b", code=2, text=text)
    assert "result b" in said["message"] and said["calls"]["failed"] == 0, said


@case
def what_is_wrong_is_refused():
    good = graph("gemm-chain")
    tensors = {"a": {"dtype": "fp32", "shape": [4], "init": {"file": "nowhere.bin"}}}
    sort = [{"kernel": "sort", "args": {"x": "a"}}]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "short.bin")
        with open(file, "wb") as out:
            out.write(b"123")
        short = {"a": tensors["a"] | {"init": {"file": "short.bin"}}}
        rows = [
            ([], 2, "FILE"),
            (["nowhere.json"], 1, "nowhere.json"),
            ([folder], 1, folder),
            ([write(folder, "1", "{")], 2, "1: "),
            ([write(folder, "2", {"version": 2})], 2, "version"),
            ([write(folder, "3", document(tensors, [{"kernel": "gemv", "args": {}}]))], 2,
             "tasks[0].kernel: no kernel is called gemv; there are: gemm axpy"),
            ([write(folder, "4", document(tensors, sort))], 1, "tensors.a: "),
            ([write(folder, "5", document(short, sort))], 2, "has 3 bytes, the tensor takes 16"),
            ([good, "--strategy", "best"], 2, "heteroprio"),
            ([good, "--devices", "cpu9"], 1, "there is no device cpu9; there are: cpu0"),
            ([good, "--devices", ""], 2, "devices: none"),
            ([good, "--modelled", "h0"], 2, "no capability profile is called h0"),
            ([good, "--workers", "0"], 2, "workers"),
            ([good, "--workers", "65"], 2, "workers"),
            ([good, "--pieces", "0"], 2, "--pieces"),
            ([good, "--pieces", "many"], 2, "--pieces"),
            ([good, "--repeat", "0"], 2, "repeat"),
            ([good, "--timeout", "soon"], 2, "timeout"),
            ([good, "--result", "c99"], 1, "there are: l10"),
            ([good, "--models", folder], 1, folder),
            ([good, "--gantt", os.path.join(folder, "no", "where")], 1, "where"),
        ]
        for words, code, says in rows:
            done = run(*words, "--json", code=code, cwd=folder)
            assert says in done.stderr, (words, says, done.stderr)
            told = json.loads(done.stdout)
            assert {"code", "message", "hint", "details"} == set(told), (words, told)


def main():
    chosen = [one for one in CASES if not sys.argv[3:] or one.__name__ in sys.argv[3:]]
    failures = 0
    for number, one in enumerate(chosen, 1):
        try:
            one()
            print(f"ok {number} - {one.__name__}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failures += 1
            print(f"not ok {number} - {one.__name__}")
            print("# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
    print(f"1..{len(chosen)}")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
