"""scripts/test-report: what a test's failure looks like in the summary of scripts/test.

    report_test.py PROGRAM    (any, with debugging information)
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

REPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts",
                      "test-report")
NAME = "synor:unit / layer/thing"
HANG = "# it hangs\n# 2 threads: prog+0x12 libc.so.6:pause\n# plain, round 3: SYNOR_TEST_SEED=9\n"

# what it shows, meson's entry, the summary's lines
CASES = [
    ("passed", {"stdout": "1..2\nok 1 - a\nok 2 - b\n", "result": "OK", "returncode": 0},
     ["passed\tlayer/thing: a\t", "passed\tlayer/thing: b\t"]),
    ("skipped", {"stdout": "1..1\n# no such device\nnot ok 1 # SKIP a\n", "result": "FAIL",
                 "returncode": 0},
     ["skipped\tlayer/thing: a\tno such device"]),
    ("failed", {"stdout": "1..1\nnot ok 1 - a\n# 1 != 2\n# a.c:7: Failure!\n", "result": "FAIL",
                "returncode": 1},
     ["failed\tlayer/thing: a\t1 != 2 a.c:7: Failure!"]),
    ("died before its first subtest",
     {"stdout": "1..2\n", "stderr": HANG, "result": "ERROR", "returncode": -6},
     ["failed\tlayer/thing\t2 of 2 subtests never ran; ERROR, exit status -6: # it hangs; # 2 "
      "threads: prog+0x12 libc.so.6:pause; # plain, round 3: SYNOR_TEST_SEED=9"]),
    ("ran out of time between two",
     {"stdout": "1..2\nok 1 - a\n# b begins\n", "result": "TIMEOUT", "returncode": -15},
     ["passed\tlayer/thing: a\t",
      "failed\tlayer/thing\t1 of 2 subtests never ran; TIMEOUT, exit status -15: # b begins"]),
    ("crashed after its last",
     {"stdout": "1..1\nok 1 - a\n", "stderr": "leaks\n", "result": "ERROR", "returncode": 1},
     ["passed\tlayer/thing: a\t", "failed\tlayer/thing\tERROR, exit status 1: leaks"]),
    ("without TAP", {"stdout": "", "stderr": "no\n", "result": "FAIL", "returncode": 3},
     ["failed\tlayer/thing\tFAIL, exit status 3: no"]),
]


def report(entry, command):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
        log.write(json.dumps({"name": NAME, "command": command, **entry}) + "\n")
        log.flush()
        return subprocess.run([sys.executable, REPORT, "", log.name], check=True, text=True,
                              capture_output=True).stdout.splitlines()


def run_cases():
    for what, entry, want in CASES:
        got = report(entry, ["/a/prog"])
        yield what, got == want, f"{got} is not {want}"
    long = {"stdout": "1..1\n", "stderr": "# first\n" + "x" * 9000 + "\n# last\n",
            "result": "ERROR", "returncode": -6}
    got = report(long, ["/a/prog"])[0]
    yield "last words are cut in the middle", \
        len(got) < 2000 and "# first" in got and got.endswith("# last"), got


def names_a_function(program):
    """What lies in a program is named by its debugging information."""
    symbols = subprocess.run(["nm", program], check=True, text=True, capture_output=True).stdout
    at = re.search(r"^([0-9a-f]+) T main$", symbols, re.M)[1].lstrip("0")
    name = os.path.basename(program)
    entry = {"stdout": "1..1\n", "stderr": f"# 1 thread: {name}+0x{at}\n", "result": "ERROR",
             "returncode": -6}
    got = report(entry, [program])[0]
    return re.search(r": main\([a-z_]+\.c:\d+\)$", got) is not None, got


def main():
    results = list(run_cases())
    print(f"1..{len(results) + 1}")
    for number, (what, good, why) in enumerate(results, 1):
        print("" if good else f"# {why}\n", "ok" if good else "not ok", f" {number} - {what}", sep="")
    if not shutil.which("nm") or not shutil.which("addr2line"):
        print(f"ok {len(results) + 1} # SKIP no binutils")
        return
    good, why = names_a_function(sys.argv[1])
    print("" if good else f"# {why}\n", "ok" if good else "not ok",
          f" {len(results) + 1} - names functions", sep="")


if __name__ == "__main__":
    main()
