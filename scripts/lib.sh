# What the scripts share; sourced, never run. Everything meant for people goes to standard error.
# shellcheck shell=bash

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$@"
    exit 1
}

# as_root COMMAND...: run as root, or say why not.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# usage [PROBLEM]: the comment at the head of the script is its help text.
usage() {
    local text
    text=$(sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "scripts/${0##*/}")
    if [ $# -gt 0 ]; then
        say "$1"
        printf '%s\n' "$text" >&2
        exit 2
    fi
    printf '%s\n' "$text"
    exit 0
}

# The C files of the project, one a line.
c_files() {
    git ls-files --cached --others --exclude-standard -- '*.c' '*.h' '*.def' | while read -r file; do
        [ ! -e "$file" ] || printf '%s\n' "$file"
    done
}

# The formatting and the static checks are those of one release of LLVM; others disagree in detail.
LLVM_RELEASE=14

# llvm_tool NAME: prints the command to run, or fails with the reason on standard output.
llvm_tool() {
    local found
    if command -v "$1-$LLVM_RELEASE"; then
        return 0
    fi
    if ! command -v "$1" >/dev/null; then
        printf '%s is not installed\n' "$1"
        return 1
    fi
    found=$("$1" --version | sed -n 's/.*version \([0-9][0-9]*\).*/\1/p' | head -n 1)
    if [ "$found" != "$LLVM_RELEASE" ]; then
        printf '%s is release %s, the tree is held to release %s\n' "$1" "$found" "$LLVM_RELEASE"
        return 1
    fi
    command -v "$1"
}

# build_options DIR: what that build folder is made with, whoever makes it first.
build_options() {
    case $1 in
    build-test) echo -Dwerror=true ;;
    build-clang) echo -Dwerror=true -Doptimization=0 -Ddebug=false ;; # its warnings need no code
    # Optimised less, it compiles in two thirds of the time.
    build-asan) echo -Db_sanitize=address,undefined -Doptimization=1 ;;
    build-tsan) echo -Db_sanitize=thread -Doptimization=1 ;;
    build-fuzz) echo -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false ;;
    *) die "no options for $1" ;;
    esac
}

# What sanitizers find ends the program. PoCL's threads end without giving back the signal stack
# that AddressSanitizer lent them.
export_sanitizer_options() {
    export ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1:use_sigaltstack=0
    ASAN_OPTIONS+=:suppressions=$PWD/scripts/asan-suppressions
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
}
