"""The checks find what they are for: each case is a small tree with one fault in it."""
import os
import shutil
import subprocess
import sys
import tempfile

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")

# Every tree starts as this one, in which there is nothing to find.
CLEAN = {
    "src/base/include/synor/base/err.h": "#include <stddef.h>\nstruct syn_err { size_t x; };\n",
    "src/base/include/synor/base/loop.h": "int syn_loop(void);\n",
    "src/base/include/synor/base/test.h": "#include <stddef.h>\n",
    "src/chain/include/synor/chain/ledger.h": "#include <synor/base/err.h>\n",
    "src/chain/ledger.c": '#include <synor/chain/ledger.h>\n#include "tx_priv.h"\n',
    "src/chain/tx_priv.h": "#include <string.h>\n",
    "src/chain/ledger_test.c": "#include <synor/base/test.h>\n#include <unistd.h>\n",
    "src/infra/store.c": "#include <sqlite3.h>\n#include <synor/base/loop.h>\n",
    "src/infra/include/synor/infra/store.h": "int syn_store(void);\n",
    "src/runtime/include/synor/runtime/job_ops.h": "int syn_job(void);\n",
    "src/runtime/include/synor/runtime/job.h": "int syn_job2(void);\n",
    "src/orchestration/place.c": "#include <synor/runtime/job_ops.h>\n",
}

LONG_FUNCTION = "int\nf(void)\n{\n" + "    g();\n" * 71 + "}\n"
WIDE = "/* " + "x" * 95 + " */\n"

# check, what it must say, the file at fault, its text
CASES = [
    ("check-layers", None, "", ""),
    ("check-layers", "may not include synor/infra/store.h", "src/chain/a.c",
     "#include <synor/infra/store.h>\n"),
    ("check-layers", "may not include synor/chain/ledger.h", "src/base/a.c",
     "#  include <synor/chain/ledger.h>\n"),
    ("check-layers", "may not include synor/runtime/job.h", "src/orchestration/a.c",
     "#include <synor/runtime/job.h>\n"),
    ("check-layers", "no such header", "src/base/a.c", "#include <synor/base/none.h>\n"),
    ("check-layers", "reaches out of chain", "src/chain/a.c",
     '#include "../base/include/synor/base/err.h"\n'),
    ("check-layers", "goes around the include folders", "src/chain/a.c",
     "#include <synor/base/../infra/store.h>\n"),
    ("check-layers", "name it <synor/...>", "src/chain/a.c",
     '#include "include/synor/chain/ledger.h"\n'),
    ("check-layers", "not beside this file", "src/chain/a.c", '#include "err.h"\n'),
    ("check-layers", "which its users cannot see", "src/chain/include/synor/chain/a.h",
     '#include "../../../tx_priv.h"\n'),
    ("check-layers", "pure and may not include <unistd.h>", "src/chain/a.c",
     "#include <unistd.h>\n"),
    ("check-layers", "pure and may not include synor/base/loop.h", "src/market/a.c",
     "#include <synor/base/loop.h>\n"),
    ("check-layers", "may not use <sqlite3.h>", "src/runtime/a.c", "#include <sqlite3.h>\n"),
    ("check-layers", "only tests include", "src/infra/a.c", "#include <synor/base/test.h>\n"),
    ("check-layers", "is no layer", "src/misc/a.c", ""),
    ("check-headers", None, "", ""),
    ("check-headers", "base/a.h does not compile alone", "src/base/include/synor/base/a.h",
     "size_t syn_a(void);\n"),
    ("check-headers", "base/a.h does not compile alone", "src/base/include/synor/base/a.h",
     "struct syn_a { int x; };\n"),
    ("check-headers", "base/a.h does not compile alone", "src/base/include/synor/base/a.h",
     "#pragma once\n#include <synor/infra/store.h>\n"),
    ("check-style", None, "", ""),
    ("check-style", "function of 71 lines", "src/base/a.c", LONG_FUNCTION),
    ("check-style", "file of 1001 lines", "src/base/a.c", "\n" * 1001),
    ("check-style", "101 columns", "src/base/a.c", WIDE),
    ("check-style", None, "src/base/a.c", "/* clang-format off */\n" + WIDE),
    ("check-style", "unfinished", "src/base/a.c", "/* TO" + "DO: later */\n"),
    ("check-style", "unfinished", "docs/a.md", "This is a stu" + "b.\n"),
    ("check-style", "unfinished", "scripts/a", "#!/bin/sh\n# FIX" + "ME\n"),
    ("check-style", "syn_plural", "src/base/a.c", 'f("%u worker(s) run");\n'),
    ("check-style", None, "src/base/a.c", 'f("%s", g(s), "x");\n'),
    ("check-style", "no newline", "src/base/a.c", "int x;"),
    ("check-style", "not UTF-8", "src/base/a.c", "/* \udcff */\n"),
]


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def plant(root):
    for path, text in CLEAN.items():
        guard = path.replace("/", "_").replace(".", "_").replace("-", "_").upper()
        if path.endswith(".h"):
            text = f"#ifndef {guard}\n#define {guard}\n{text}#endif\n"
        write(root, path, text)
    subprocess.run(["git", "init", "-q", root], check=True)


def run_case(check, want, path, text):
    """What is wrong with the check, or None."""
    with tempfile.TemporaryDirectory() as root:
        plant(root)
        if path:
            write(root, path, text)
        done = subprocess.run([sys.executable, os.path.join(SCRIPTS, check), root], text=True,
                              capture_output=True, check=False)
    if want is None:
        return None if done.returncode == 0 else f"found something: {done.stdout}"
    if done.returncode != 1 or want not in done.stdout or path.split("/")[-1] not in done.stdout:
        return f"exit status {done.returncode}, {done.stdout}{done.stderr}"
    return None


def skip_reason(check):
    if not shutil.which("git"):
        return "git is not installed"
    if check == "check-headers" and not (shutil.which("gcc") or shutil.which("clang")):
        return "neither gcc nor clang is installed"
    return None


def main():
    print(f"1..{len(CASES)}")
    failures = 0
    for number, case in enumerate(CASES, 1):
        name = f"{case[0]}: {case[1] or 'nothing to find'}"
        skipped = skip_reason(case[0])
        problem = None if skipped else run_case(*case)
        failures += problem is not None
        print(f"{'not ok' if problem else 'ok'} {number} - {name}"
              + (f" # SKIP {skipped}" if skipped else ""))
        if problem:
            print("\n".join("# " + line for line in problem.splitlines()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
