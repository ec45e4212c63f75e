"""The interface of libsynor, looked at from outside.

    abi.py MESON BUILD [--update]

Installs the library from the build folder BUILD and looks at what came: the files, every header
alone in C and C++, the symbols and the layout of every public structure against what is stored
beside this file. --update stores what is there now: do that only for what was added, or when a new
soversion begins.
"""
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import installed
from installed import Failed, expect, run

import api

HERE = os.path.dirname(os.path.abspath(__file__))
STANDARDS = {"gcc": ("c11", "c17", "gnu17"), "clang": ("c11", "c17", "gnu17"),
             "g++": ("c++11", "c++17", "c++20"), "clang++": ("c++11", "c++17", "c++20")}
# What a program of C may take for granted. Of libraries, libsynor needs these alone.
LIBC = re.compile(r"(libc|libm|libdl|libpthread|ld-linux[\w-]*)\.so(\.\d+)?$")


def compare(name, fresh, update):
    """Hold `fresh` against the stored file of that name."""
    path = os.path.join(HERE, name)
    if update:
        with open(path, "w", encoding="utf-8") as file:
            file.write(fresh)
        return
    with open(path, encoding="utf-8") as file:
        stored = file.read()
    if stored != fresh:
        old, new = stored.split("\n"), fresh.split("\n")
        gone = [line for line in old if line not in set(new)]
        come = [line for line in new if line not in set(old)]
        raise Failed("\n".join([f"{name} differs; `abi.py MESON BUILD --update` stores it"]
                               + [f"- {line}" for line in gone] + [f"+ {line}" for line in come]))


def check_list(place, symbols):
    """Every header has its row, and none is kept back whose functions are all there."""
    listed = {header: part for part, header, _ in api.rows(installed.ROOT)}
    there = {f"synor/{name}" for name in os.listdir(os.path.join(installed.ROOT, "include/synor"))
             if name.endswith(".h")}
    missing = sorted(there - set(listed)) + sorted(
        header for header in listed
        if not os.path.exists(api.path_of(installed.ROOT, header)))
    if missing:
        raise Failed(f"{api.LIST} and the tree differ in {', '.join(missing)}")
    for header in sorted(there):
        declared = {name for what, name, _, text in api.items(api.read(installed.ROOT, header))
                    if what == "function" and "SYN_API" in text}
        if listed[header] == "-" and declared and declared <= symbols:
            raise Failed(f"{header}: its functions are in the library, give it a part in {api.LIST}")
    headers = {os.path.relpath(os.path.join(here, name), place.include)
               for here, _, names in os.walk(place.include) for name in names}
    tables = {header for header in headers if header.endswith(".def")}
    if headers - tables != set(api.public(installed.ROOT)):
        raise Failed(f"installed: {sorted(headers)}")


def check_headers(place):
    """Each header twice in one file, with nothing before it and nothing but itself installed."""
    def alone(job):
        compiler, standard, header = job
        language = "c++" if "++" in compiler else "c"
        # The project's functions may use a GNU expression in a macro; declaring it is clean.
        return job, run([compiler, f"-std={standard}", *installed.WARNINGS, "-fsyntax-only",
                         *place.flags("--cflags"), "-x", language, "-"], env=place.env,
                        input=f"#include <{header}>\n#include <{header}>\nextern int not_empty;\n")

    jobs = [(compiler, standard, header)
            for compiler in installed.C_COMPILERS + installed.CXX_COMPILERS
            for standard in STANDARDS[compiler] for header in api.public(installed.ROOT)]
    if not jobs:
        return "no compiler"
    with ThreadPoolExecutor(2) as pool:
        for (compiler, standard, header), done in pool.map(alone, jobs):
            expect(done, f"{header} with {compiler} -std={standard}")
    return None


def dynamic_symbols(place):
    """{name: version} of what the shared library defines for others."""
    said = expect(run(["nm", "-D", "--defined-only", os.path.join(place.libdir, "libsynor.so")]),
                  "nm")
    found = {}
    for line in said.splitlines():
        name, _, version = line.split()[-1].partition("@@")
        if version:
            found[name] = version
    return found


def check_symbols(symbols, update):
    wrong = sorted(name for name in symbols if not name.startswith("syn_"))
    if wrong:
        raise Failed(f"visible, but not of libsynor: {wrong}")
    compare("symbols.txt", "".join(f"{name}@{version}\n"
                                   for name, version in sorted(symbols.items())), update)


def check_declared(place, symbols):
    """What is declared is there, and what is there is declared; also for C++, which would look for
    a mangled name where a header forgot to say `extern "C"`."""
    declared = set(api.functions(installed.ROOT))
    if declared != set(symbols):
        raise Failed(f"declared, not exported: {sorted(declared - set(symbols))}\n"
                     f"exported, not declared: {sorted(set(symbols) - declared)}")
    text = "".join(f"#include <{header}>\n" for header in api.public(installed.ROOT))
    text += "typedef void any(void);\nextern any *const table[];\nany *const table[] = {\n"
    text += "".join(f"    (any *)(&{name}),\n" for name in sorted(symbols))
    text += "};\nint main() { return table[0] == nullptr; }\n"
    if not installed.CXX_COMPILERS:
        return "no C++ compiler"
    for compiler in installed.CXX_COMPILERS:
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "all.cc"), os.path.join(folder, "all")
            with open(source, "w", encoding="utf-8") as file:
                file.write(text)
            place.build(compiler, source, program,
                        ["-std=c++17", "-Wno-cast-function-type"], place.flags("--libs"))
            expect(place.start(program), program)
    return None


def own_text(place, compiler):
    """All public headers after the preprocessor, without what they include from elsewhere."""
    includes = "".join(f"#include <{header}>\n" for header in api.public(installed.ROOT))
    said = expect(run([compiler, "-E", *place.flags("--cflags"), "-x", "c", "-"], env=place.env,
                      input=includes), "preprocessing")
    kept, ours = [], False
    for line in said.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            ours = marker[1].startswith(place.include)
        elif ours:
            kept.append(line)
    return "\n".join(kept)


def split_top(text, mark):
    """Split at `mark` outside of all brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "({[") - (c in ")}]")
        if c == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]


def members(body):
    """The names of a structure's members; those of a union without a name count as its own."""
    for part in split_top(body, ";"):
        inner = re.fullmatch(r"(?:struct|union)\s*\{(.*)\}", part, re.S)
        if inner:
            yield from members(inner[1])
            continue
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)", part)
        if pointer:
            yield pointer[1]
            continue
        for declarator in split_top(part, ","):
            yield re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$", declarator)[1]


def layout_source(text):
    """A program that prints size, alignment and offsets of every structure, and every constant."""
    lines = []
    for what, name, body in re.findall(r"^(struct|enum) (\w+)\s*\n?\{(.*?)^\};", text, re.M | re.S):
        if what == "enum":
            lines.append(f'printf("enum {name}\\n");')
            lines += [f'printf("    {one} %lld\\n", (long long){one});'
                      for one in (re.match(r"\w+", part)[0] for part in split_top(body, ","))]
        else:
            kind = f"struct {name}"
            lines.append(f'printf("{kind} %zu aligned %zu\\n", sizeof({kind}), _Alignof({kind}));')
            lines += [f'printf("    {one} %zu\\n", offsetof({kind}, {one}));'
                      for one in members(body)]
    includes = "".join(f"#include <{header}>\n" for header in api.public(installed.ROOT))
    body = "\n    ".join(lines)
    return f"#include <stdio.h>\n{includes}int\nmain(void)\n{{\n    {body}\n    return 0;\n}}\n"


def check_layout(place, update):
    if sys.maxsize < 2 ** 32:
        return "the stored layout is that of 64-bit machines"
    said = set()
    for compiler in installed.C_COMPILERS:
        with tempfile.TemporaryDirectory() as folder:
            source, program = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
            with open(source, "w", encoding="utf-8") as file:
                file.write(layout_source(own_text(place, compiler)))
            place.build(compiler, source, program, ["-std=gnu17"], [])
            said.add(expect(place.start(program), program))
    if len(said) != 1:
        raise Failed("the compilers lay it out differently")
    fresh = said.pop()
    if fresh.count("struct ") < 30 or "syn_task_spec" not in fresh:
        raise Failed(f"found too little:\n{fresh}")
    compare("layout.txt", fresh, update)
    return None


def check_archive(place, symbols):
    """libsynor.a defines for others what the shared library does: nothing else can collide."""
    said = expect(run(["nm", "-g", "--defined-only",
                       os.path.join(place.libdir, "libsynor.a")]), "nm")
    names = {line.split()[-1] for line in said.splitlines() if re.search(r" [A-Z] ", line)}
    if names != set(symbols):
        raise Failed(f"in the archive alone: {sorted(names - set(symbols))}\n"
                     f"in the shared library alone: {sorted(set(symbols) - names)}")


def check_needed(place):
    library = os.path.join(place.libdir, "libsynor.so")
    said = expect(run(["readelf", "-dW", library]), "readelf")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", said)
    wrong = [name for name in needed if not LIBC.match(name)]
    if wrong:
        raise Failed(f"needs {wrong}")
    if "[libsynor.so.0]" not in said:
        raise Failed("its SONAME is not libsynor.so.0")
    if "TEXTREL" in said or "NOW" not in said:
        raise Failed("it has relocations in its text, or resolves lazily")


def main():
    words = [word for word in sys.argv[1:] if word != "--update"]
    update = "--update" in sys.argv
    if len(words) != 2:
        print(__doc__)
        return 2
    with installed.Installed(words[0], os.path.abspath(words[1])) as place:
        symbols = dynamic_symbols(place)
        return installed.report([
            ("the installed headers are the listed ones", lambda: check_list(place, set(symbols))),
            ("every header compiles alone, in C and C++", lambda: check_headers(place)),
            ("symbols", lambda: check_symbols(symbols, update)),
            ("what is declared is exported, also for C++",
             lambda: check_declared(place, symbols)),
            ("layout", lambda: check_layout(place, update)),
            ("the archive shows the same", lambda: check_archive(place, symbols)),
            ("the shared library needs libc alone", lambda: check_needed(place)),
        ])


if __name__ == "__main__":
    sys.exit(main())
