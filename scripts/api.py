"""libsynor's public headers, read as data: for man pages and for the checks of the interface.

The headers are those of src/compute/libsynor/headers.list. They are laid out by clang-format and
follow the project's style, so that a few rules read them; tests/abi holds what is read here against
what the compiler and the linker see.
"""
import os
import re

LIST = "src/compute/libsynor/headers.list"


def rows(root):
    """[(part, header, why)]; the part is "-" for a header that is no part of the library."""
    found = []
    with open(os.path.join(root, LIST), encoding="utf-8") as file:
        for line in file:
            words = line.split(maxsplit=2)
            if words and words[0] != "#":
                found.append((words[0], words[1], words[2].strip() if words[2:] else ""))
    return found


def public(root):
    """The library's headers, in order."""
    return [header for part, header, _ in rows(root) if part != "-"]


def path_of(root, header):
    base = "src/base/include" if header.startswith("synor/base/") else "include"
    return os.path.join(root, base, header)


def read(root, header):
    with open(path_of(root, header), encoding="utf-8") as file:
        return file.read()


def plain(comment):
    """The text of a comment without its frame, its line breaks and indents kept."""
    text = re.sub(r"^/\*\*?|\*/$", "", comment.strip())
    lines = [re.sub(r"^ ?\* ?", "", line) if number else line.strip()
             for number, line in enumerate(text.split("\n"))]
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def take_comment(text, at):
    end = text.index("*/", at) + 2
    return text[at:end], end


def take_directive(text, at):
    end = at
    while True:
        end = text.find("\n", end)
        if end < 0:
            return text[at:], len(text)
        if text[end - 1] != "\\":
            return text[at:end], end
        end += 1


def take_declaration(text, at):
    """Up to the ";" outside of braces, or to the end of a function's body."""
    depth, i = 0, at
    while i < len(text):
        if text.startswith("/*", i):
            i = text.index("*/", i) + 2
            continue
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0 and re.match(r"\}\s*\n", text[i:]) and re.search(
                    r"\)\s*\{", text[at:i]) and text[at:].startswith("static inline"):
                return text[at:i + 1], i + 1
        elif text[i] == ";" and depth == 0:
            return text[at:i + 1], i + 1
        i += 1
    raise ValueError(f"no end of: {text[at:at + 60]!r}")


def name_of(declaration):
    """(what, name) of a declaration."""
    bare = re.sub(r"/\*.*?\*/", " ", declaration, flags=re.S)
    match = re.match(r"(struct|enum|union)\s+(\w+)\s*([{;])", bare)
    if match:
        return match[1] if match[3] == "{" else "opaque", match[2]
    if re.match(r"(static_assert|_Static_assert)\b", bare):
        return "assertion", ""
    match = re.match(r"(?:__extension__ )?typedef\b", bare)
    if match:
        names = re.findall(r"(\w+)\s*(?:\([^()]*\))?\s*;$", bare.strip(), re.S) or re.findall(
            r"\(\*(\w+)\)", bare)
        called = re.search(r"\(\*(\w+)\)|\b(\w+)\((?!\()", bare)
        if called and "(" in bare:
            return "typedef", called[1] or called[2]
        return "typedef", names[0]
    match = re.match(r"SYN_API extern const [\w ]+?(\w+);$", bare.strip())
    if match:
        return "data", match[1]
    match = re.search(r"\b(syn_\w+)\s*\(", bare)
    if match:
        return ("inline" if bare.startswith("static inline") else "function"), match[1]
    raise ValueError(f"what is this? {declaration[:80]!r}")


def items(text):
    """What a header declares: [(what, name, comment, declaration)], in order. The header's first
    comment is ("page", "", comment, ""); prose between declarations is "text"."""
    text = re.sub(r'#ifdef __cplusplus\n(extern "C" \{|\})\n#endif\n', "", text)
    found, at, pending = [], 0, ""
    guard = re.search(r"#ifndef (\w+)\n#define \1\n", text)[1]
    while at < len(text):
        if text[at].isspace():
            if pending and not found:
                found.append(("page", "", pending, ""))
                pending = ""
            if pending and text.startswith("\n\n", at):
                found.append(("text", "", pending, ""))
                pending = ""
            at += 1
        elif text.startswith("/*", at):
            pending, at = take_comment(text, at)
        elif text[at] == "#":
            line, at = take_directive(text, at)
            match = re.match(r"#\s*define (\w+)(\([^)]*\))?", line)
            if match and match[1] != guard and not match[1].startswith(("SYN_KIND", "SYN_DTYPE(")):
                found.append(("macro", match[1], pending, line))
            pending = "" if match else pending
        else:
            declaration, at = take_declaration(text, at)
            found.append((*name_of(declaration), pending, declaration))
            pending = ""
    return found


def functions(root):
    """{name: header} of what the library has to have."""
    return {name: header for header in public(root)
            for what, name, _, _ in items(read(root, header)) if what in ("function", "data")}
