"""The examples as a user builds them: with make and pkg-config, from what was installed.

    examples.py MESON BUILD

With gcc and clang against the shared library, with each against the archive (libc inside as well),
and once by naming the archive. Every program checks its own result.
"""
import os
import sys
import tempfile

import installed
from installed import Failed, expect, run

FOLDER = os.path.join(installed.ROOT, "examples", "libsynor")
PROGRAMS = sorted(name.removesuffix(".c") for name in os.listdir(FOLDER) if name.endswith(".c"))
# A program that holds libc itself cannot load the vendors' libraries.
LOADS = {"devices", "replay", "reduce"}


def run_all(place, folder, names):
    env = place.env | {"OCL_ICD_VENDORS": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    for name in names:
        said = expect(run([os.path.join(folder, name)], env=env), name)
        if not said:
            raise Failed(f"{name} says nothing")
    if "strategy" in names:
        chart = os.path.join(folder, "chart.svg")
        expect(run([os.path.join(folder, "strategy"), "8", chart], env=env), "strategy")
        with open(chart, encoding="utf-8") as file:
            if not file.read().rstrip().endswith("</svg>"):
                raise Failed("strategy's chart is cut off")


def check_make(place, compiler, static):
    words = ["make", "-s", "-C", FOLDER, f"CC={compiler}"] + (["STATIC=1"] if static else [])
    with tempfile.TemporaryDirectory() as folder:
        said = run([*words, f"OUT={folder}", "CFLAGS=-O2 -Wall -Wextra -pedantic -Werror"],
                   env=place.env)
        expect(said, "make")
        built = sorted(os.listdir(folder))
        if built != PROGRAMS:
            raise Failed(f"the Makefile builds {built}, the folder has {PROGRAMS}")
        if static:
            headers = expect(run(["readelf", "-lW", os.path.join(folder, "fib")]), "readelf")
            if "INTERP" in headers:
                raise Failed("not linked statically")
        run_all(place, folder, [name for name in PROGRAMS if not (static and name in LOADS)])


def check_archive(place):
    """The archive alone, libc shared: for those who ship one program to many distributions."""
    links = [os.path.join(place.libdir, "libsynor.a"),
             *[word for word in place.flags("--libs", "--static") if word != "-lsynor"]]
    with tempfile.TemporaryDirectory() as folder:
        for name in PROGRAMS:
            place.build(installed.C_COMPILERS[0], os.path.join(FOLDER, f"{name}.c"),
                        os.path.join(folder, name), ["-std=c17"], links)
            needed = expect(run(["readelf", "-dW", os.path.join(folder, name)]), "readelf")
            if "libsynor" in needed:
                raise Failed(f"{name} still needs the shared library")
        run_all(place, folder, PROGRAMS)


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    with installed.Installed(sys.argv[1], os.path.abspath(sys.argv[2])) as place:
        cases = [(f"{compiler}, {'static' if static else 'shared'}",
                  lambda compiler=compiler, static=static: check_make(place, compiler, static))
                 for compiler in installed.C_COMPILERS for static in (False, True)]
        return installed.report(cases + [("the archive by name", lambda: check_archive(place))])


if __name__ == "__main__":
    sys.exit(main())
