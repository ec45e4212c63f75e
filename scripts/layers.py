"""Who may include whom: the table of docs/architecture.md in a form that the checks read."""
import os
import re

# layer: the layers whose API headers it may include, besides its own. A pattern instead of a layer
# allows only the headers that match.
MAY_INCLUDE = {
    "base": [],
    "client": ["base"],
    "wasm": ["base"],
    "compute": ["base", r"synor/wasm/wasmtime\.h"],
    "chain": ["base"],
    "market": ["base"],
    "infra": ["base"],
    "runtime": ["base", "compute", "infra"],
    "orchestration": ["base", "compute", "chain", "market", r"synor/runtime/\w+_ops\.h"],
    "workload": ["base", "orchestration", r"synor/market/pricebook\.h"],
    "daemon": ["base", "client", "compute", "chain", "market", "infra", "runtime", "wasm",
               "orchestration", "workload"],
    "cli": ["base", "client"],
}

# These make no system call, read no clock, start no thread. From libc they may include this much,
# and from base not what does those things.
PURE = {"chain", "market", "orchestration", "workload"}
PURE_LIBC = {"assert.h", "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h",
             "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h",
             "strings.h", "jansson.h"}
# Compiled here, but run within instances, as the host programs beside it are.
GUESTS = {"src/workload/function/renew.c"}
PURE_REFUSED = {"synor/base/child.h", "synor/base/clock.h", "synor/base/log.h", "synor/base/loop.h",
                "synor/base/pool.h"}

# Libraries that not everybody may use.
LIBRARIES = {
    r"yaml\.h": {"base"},
    r"curl/.*": {"client", "infra"},
    r"nghttp2/.*": {"infra"},
    r"protobuf-c/.*": {"runtime"},
    r"microhttpd\.h": {"infra", "daemon"},
    r"(sqlite3\.h|openssl/.*|sodium\.h|sodium/.*|zstd\.h)": {"infra"},
    r"archive.*\.h": {"cli", "infra"},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
TEST_FILE = re.compile(r"((_test|_fuzz|_suite|_model|_recorder|_testing|_test_priv)|/suite_\w+)\.[ch]$")


def files(root, folder, pattern):
    """Paths below `folder` that match, relative to root, sorted."""
    found = []
    for here, _, names in os.walk(os.path.join(root, folder)):
        found += [os.path.relpath(os.path.join(here, name), root)
                  for name in names if re.search(pattern, name)]
    return sorted(found)


def layer_of(path):
    """The layer of a path below src/, or None."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "src" else None


def api_headers(root):
    """{"synor/base/err.h": ("base", "src/base/include/synor/base/err.h")}"""
    headers = {}
    for path in files(root, "src", r"\.(h|def)$"):
        layer, mark = layer_of(path), "/include/"
        if layer and path.startswith(f"src/{layer}{mark}"):
            headers[path.split(mark, 1)[1]] = (layer, path)
    for path in files(root, "include", r"\.(h|def)$"):
        headers[path.removeprefix("include/")] = ("include", path)
    return headers


def may_include(layer, header, owner):
    """May `layer` include the API header `header` of `owner`?"""
    return owner in (layer, "include") or any(
        rule == owner or re.fullmatch(rule, header) for rule in MAY_INCLUDE[layer])
