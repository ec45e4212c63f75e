#!/usr/bin/env python3
"""Calls of six kinds of functions, made: one a line, its time and how long it runs, in ms.

    make.py            writes NAME.txt beside itself; the same each time
"""
import math
import pathlib
import random

DAY = 86400


def periodic(rnd):
    """Every quarter of an hour, give or take 4 s."""
    return [(at + rnd.uniform(-4, 4), 0.4) for at in range(900, 2 * DAY, 900)]


def poisson(rnd):
    """At random, one in six minutes."""
    at, calls = 0, []
    while at < 2 * DAY:
        at += rnd.expovariate(1 / 360)
        calls.append((at, rnd.expovariate(2)))
    return calls


def bursts(rnd):
    """A person at work: up to thirty calls a few seconds apart, some of them at once; then none for
    half an hour or so."""
    at, calls = 0, []
    while at < 2 * DAY:
        at += rnd.lognormvariate(math.log(1800), 0.35)
        for _ in range(rnd.randint(5, 30)):
            at += rnd.expovariate(1 / 8)
            calls += [(at + rnd.uniform(0, 0.2), rnd.expovariate(2)) for _ in range(rnd.choice((1, 1, 3)))]
    return calls


def diurnal(rnd):
    """One a minute at noon, one in an hour and a half at night."""
    at, calls = 0, []
    while at < 2 * DAY:
        at += rnd.expovariate(1 / 60)
        by_day = (1 - math.cos(2 * math.pi * at / DAY)) / 2
        if rnd.random() < max(by_day ** 2, 1 / 90):
            calls.append((at, rnd.expovariate(2)))
    return calls


def rare(rnd):
    """Six calls in two days."""
    return [(rnd.uniform(0, 2 * DAY), 1) for _ in range(6)]


def schedule(rnd):
    """A schedule, every hour on the hour."""
    return [(at + rnd.uniform(0.05, 0.6), 2) for at in range(3600, 2 * DAY, 3600)]


for number, make in enumerate((periodic, poisson, bursts, diurnal, rare, schedule)):
    calls = sorted((int(at * 1000), max(int(took * 1000), 1)) for at, took in make(random.Random(number)))
    path = pathlib.Path(__file__).parent / f"{make.__name__}.txt"
    path.write_text("".join(f"{at} {took}\n" for at, took in calls if at < 2 * DAY * 1000))
