"""What every benchmark tells: figures for machines, and words for people."""

import sys


def say(text):
    """For people."""
    print(text, file=sys.stderr, flush=True)


def figure(name, ours, unit, peer, theirs, ratio, goal, good, digits=4):
    """One figure for machines: the line that scripts/bench promises. Numbers get `digits` digits;
    text stays as it is."""
    fields = (value if isinstance(value, str) else f"{value:.{digits}g}"
              for value in (name, ours, unit, peer, theirs, ratio, goal))
    print("\t".join([*fields, "ok" if good else "short"]), flush=True)
