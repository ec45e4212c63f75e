"""Completion as a person has it: keys typed into a real bash and a real zsh on a terminal.

    completion.py SYNOR

Each row is typed, completed with TAB and entered; a function in place of synor shows its words.
"""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# What is typed, and the words that must come of it.
ROWS = [
    ("synor compute tr", "compute train"),
    ("synor compute train cre", "compute train create"),
    ("synor stor", "storage"),
    ("synor storage ver", "storage verify"),
    ("synor compute train create --optim", "compute train create --optimizer"),
    ("synor compute train create --framework tens", "compute train create --framework tensorflow"),
    ("synor storage put half-a-na", "storage put half-a-name.txt"),
    ("synor storage put --na", "storage put --name"),
    ("synor bill ver", "bill verify"),
    ("synor down --stop", "down --stop-jobs"),
]
WITHIN_S = 20


def read_until(fd, pattern, text=""):
    """What the terminal says until `pattern` is in it."""
    end = time.monotonic() + WITHIN_S
    while not re.search(pattern, text):
        if time.monotonic() > end or not select.select([fd], [], [], WITHIN_S)[0]:
            raise TimeoutError(f"no {pattern!r} in {text!r}")
        text += os.read(fd, 65536).decode(errors="replace")
    return text


def type_rows(fd):
    """[(typed, words that came), ...]"""
    for typed, _ in ROWS:
        os.write(fd, f"{typed}\t\n".encode())
        said = read_until(fd, r"words<[^>\n]*>")
        yield typed, re.search(r"words<([^>\n]*)>", said)[1].strip()


def check_syntax(synor, shell):
    """None, or why the script is no script of that shell."""
    script = subprocess.run([synor, "completion", shell], text=True, capture_output=True,
                            check=True)
    done = subprocess.run([shell, "-n"], input=script.stdout, text=True, capture_output=True,
                          check=False, timeout=WITHIN_S)
    return done.stderr if done.returncode else None


# Makes the shell say nothing but what it is asked for, with completion as a person has it.
ZSH = ("PS1=; PS2=; RPS1=; unsetopt beep prompt_sp prompt_cr; unset zle_bracketed_paste; "
       "autoload -Uz compinit; ")
SET_UP = {
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             "stty -echo; PS1=; PS2=; unset PROMPT_COMMAND; bind 'set bell-style none'; "
             "bind 'set enable-bracketed-paste off'; source <('{synor}' completion bash)"),
    "zsh": (["zsh", "-f", "-i"],
            ZSH + "'{synor}' completion zsh >_synor; fpath=(\"$PWD\" $fpath); compinit -u -D"),
    "zsh, sourced": (["zsh", "-f", "-i"],
                     ZSH + "compinit -u -D; source <('{synor}' completion zsh)"),
}


def type_in(shell, synor):
    """[(typed, words that came), ...], typed into this shell on a terminal."""
    command, set_up = SET_UP[shell]
    with tempfile.TemporaryDirectory() as folder:
        open(os.path.join(folder, "half-a-name.txt"), "w", encoding="utf-8").close()
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"})
            os.chdir(folder)
            os.execvp(command[0], command)
        try:
            os.write(fd, (set_up.format(synor=synor) + "; synor() { printf 'words<%s>\\n' \"$*\"; }; "
                          "printf 'set%s\\n' up\n").encode())
            read_until(fd, "setup\\b")
            return list(type_rows(fd))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(fd)


def cases(synor):
    """(name, None or what is wrong, None or why it was skipped)"""
    for shell in SET_UP:
        program = SET_UP[shell][0][0]
        if not shutil.which(program):
            yield f"completion of {shell}", None, f"{program} is not installed"
            continue
        yield f"syntax of {shell}", check_syntax(synor, program), None
        for (typed, came), (_, want) in zip(type_in(shell, synor), ROWS):
            yield (f"{shell}: {typed}",
                   None if came == want else f"came \"{came}\", want \"{want}\"", None)


def main():
    number = failures = 0
    for name, problem, skipped in cases(os.path.abspath(sys.argv[1])):
        number += 1
        failures += problem is not None
        print(f"{'not ok' if problem else 'ok'} {number} - {name}"
              f"{f' # SKIP {skipped}' if skipped else ''}")
        if problem:
            print(f"# {problem}")
    print(f"1..{number}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
