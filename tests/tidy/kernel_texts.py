#!/usr/bin/env python3
"""The texts of kernels are CUDA C, HIP C, OpenCL C and GLSL: clang's front end, and for GLSL the
reference compiler where it is installed, takes each without a word.

For every text in src/compute/kernels/text/ and every row of options that its kernel's table has. What
the vendors' compilers declare by themselves is declared here, no more: a text that needs more would
not compile. Exit status 77 without clang.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
KERNELS = os.path.join(ROOT, "src", "compute", "kernels")
INCLUDES = ["include", "src/base/include", "src/compute/include"]
ROW = re.compile(r'\.options\s*=\s*\(((?:\s*"[^"]*")+)\s*\)')

BUILT_IN = """
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
struct own_dim3 { unsigned int x, y, z; };
extern __device__ const own_dim3 threadIdx, blockIdx, blockDim, gridDim;
extern "C" __device__ void __syncthreads();
struct ulonglong4 { unsigned long long x, y, z, w; };
__device__ float sin(float); __device__ double sin(double);
__device__ float cos(float); __device__ double cos(double);
"""

DIALECTS = {
    "cuda": ["-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "--cuda-gpu-arch=sm_70"],
    "hip": ["-x", "hip", "--cuda-device-only", "-nogpuinc", "-nogpulib", "--offload-arch=gfx90a"],
    "opencl": ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header",
               "-D__OPENCL_VERSION__=120", "-Dcl_khr_fp64=1"],
}
WARNINGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-cuda-version"]


def read(*parts):
    with open(os.path.join(KERNELS, *parts), encoding="utf-8") as file:
        return file.read()


def rows(name):
    """The options that a kernel's table has, as the preprocessor sees it, each once."""
    done = subprocess.run(["clang", "-E", "-P", *(f"-I{os.path.join(ROOT, path)}" for path in INCLUDES),
                           os.path.join(KERNELS, name + ".c")],
                          text=True, capture_output=True, check=True, timeout=60)
    return list(dict.fromkeys("".join(re.findall(r'"([^"]*)"', row)) for row in ROW.findall(done.stdout)))


def problem(dialect, text, options):
    """What the compiler says, or nothing."""
    text = read("text", "prelude.cl") + text
    if dialect != "opencl":
        text = BUILT_IN + text
    done = subprocess.run(["clang", *DIALECTS[dialect], *WARNINGS, *options.split(), "-"], input=text,
                          text=True, capture_output=True, check=False, timeout=60)
    return done.stderr if done.returncode or done.stderr else ""


def glsl_head():
    """What the driver puts before a text, read from its source: `head` of vulkan_text.c."""
    with open(os.path.join(ROOT, "src", "compute", "driver", "vulkan_text.c"), encoding="utf-8") as file:
        source = file.read()
    mark = re.search(r'^#define MARK ("[^"]*")$', source, re.M).group(1)
    body = re.search(r"^static const char head\[\] =\n(.*?);$", source, re.M | re.S).group(1)
    text = "".join(re.findall(r'"([^"]*)"', body.replace("MARK", mark))).replace("\\n", "\n")
    assert text.startswith("#version ") and text.endswith("#line 1\n"), text
    return text


def glsl_problem(text, options):
    """The same of the compiler of GLSL. What the driver puts behind a text is the driver's to test."""
    text = glsl_head() + read("text", "prelude.cl") + text + "\nvoid main() {}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.comp")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run(["glslangValidator", "--target-env", "vulkan1.2", *options.split(), "-o",
                               os.path.join(folder, "out.spv"), path],
                              text=True, capture_output=True, check=False, timeout=60)
    said = [line for line in done.stdout.splitlines() if line.strip() and line.strip() != path]
    return "\n".join(said) if done.returncode or said else ""


def main():
    if not shutil.which("clang"):
        print("clang is not installed")
        return 77
    names = sorted(name.removesuffix(".cl") for name in os.listdir(os.path.join(KERNELS, "text")))
    names.remove("prelude")
    has_glsl = bool(shutil.which("glslangValidator"))
    checked = failures = 0
    for name in names:
        for options in rows(name):
            for dialect in [*DIALECTS, *(["glsl"] if has_glsl else [])]:
                text = read("text", name + ".cl")
                said = (glsl_problem(text, options) if dialect == "glsl"
                        else problem(dialect, text, options))
                checked += 1
                failures += bool(said)
                if said:
                    print(f"{name}.cl as {dialect} with {options}:\n{said}")
    if problem("cuda", "KERNEL broken() { nothing(); }\n", "") == "":
        print("clang takes what is broken")
        failures += 1
    if has_glsl and glsl_problem("KERNEL broken() { nothing(); }\n", "-DELEM=float") == "":
        print("the compiler of GLSL takes what is broken")
        failures += 1
    print(f"{checked} compilations, {failures} problems", file=sys.stderr)
    return 1 if failures or checked < 6 * len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
