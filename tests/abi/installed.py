"""libsynor as somebody else has it: installed into a folder of its own, reached by pkg-config."""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

C_COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
CXX_COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


def run(words, **more):
    return subprocess.run(words, text=True, capture_output=True, check=False, timeout=300, **more)


class Failed(Exception):
    """What a case found; its text says where."""


def expect(done, what):
    """The standard output of what must have succeeded."""
    if done.returncode:
        raise Failed(f"{what}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Installed:
    """`meson install --tags runtime,devel` into a folder that ends with the scope."""

    def __init__(self, meson, build):
        self.scope = tempfile.TemporaryDirectory(prefix="libsynor-")
        self.dest = self.scope.name
        expect(run([meson, "install", "-C", build, "--no-rebuild", "--quiet", "--destdir",
                    self.dest, "--tags", "runtime,devel"]), "meson install")
        found = glob.glob(os.path.join(self.dest, "**/pkgconfig/synor.pc"), recursive=True)
        if len(found) != 1:
            raise Failed(f"synor.pc: {found}")
        self.env = os.environ | {"PKG_CONFIG_PATH": os.path.dirname(found[0]),
                                 "PKG_CONFIG_SYSROOT_DIR": self.dest}
        self.libdir = os.path.dirname(os.path.dirname(found[0]))
        self.include = self.flags("--cflags-only-I")[0].removeprefix("-I")
        self.env["LD_LIBRARY_PATH"] = self.libdir

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scope.cleanup()

    def ask(self, *words):
        return expect(run(["pkg-config", *words, "synor"], env=self.env), "pkg-config")

    def flags(self, *words):
        return self.ask(*words).split()

    def files(self):
        """Paths of what was installed."""
        return sorted(os.path.join(here, name)
                      for here, _, names in os.walk(self.dest) for name in names)

    def build(self, compiler, source, program, flags, links):
        """Compile and link one file."""
        expect(run([compiler, *flags, *WARNINGS, "-O1", *self.flags("--cflags"), source, "-o",
                    program, *links], env=self.env), f"{compiler} {os.path.basename(source)}")

    def start(self, program, *words):
        return run([program, *words], env=self.env)


def report(cases):
    """Run [(name, function)] as TAP; the exit status. A function returns why it was left out."""
    print(f"1..{len(cases)}")
    failures = 0
    for number, (name, case) in enumerate(cases, 1):
        try:
            skipped = case()
            print(f"ok {number} - {name}" + (f" # SKIP {skipped}" if skipped else ""))
        except Failed as failed:
            failures += 1
            print(f"not ok {number} - {name}")
            print("".join(f"# {line}\n" for line in str(failed).split("\n")), end="")
    return 1 if failures else 0
