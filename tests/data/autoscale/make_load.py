#!/usr/bin/env python3
"""Make load.txt: requests a second of a service, one number for each ten seconds of six hours.

It is nobody's record: a day's curve pressed into six hours, with what days bring. Noise that
remembers (an AR(1) process), a crowd that comes within 20 s, a step, clients that all call on the
minute for an hour, a steep ramp, a quarter of an hour of nearly nothing, and a slow evening.

    make_load.py > load.txt
"""
import math
import random

SECONDS, EVERY = 6 * 3600, 10


def rate(t, noise):
    day = 130 - 90 * math.cos(2 * math.pi * t / SECONDS) + 25 * math.sin(6 * math.pi * t / SECONDS)
    value = day * (1 + noise)
    if 3000 <= t < 3480:  # a crowd: three times as many within 20 s, gone over minutes
        rise = min(1.0, (t - 3000) / 20)
        value *= 1 + 2 * rise * math.exp(-max(0, t - 3120) / 200)
    if 6600 <= t < 7500:  # a step
        value += 120
    if 9000 <= t < 12600 and t % 600 < 60:  # clients on the minute
        value += 150
    if 14000 <= t < 15200:  # a ramp up to three times, and down
        value *= 1 + 2 * max(0.0, 1 - abs(t - 14600) / 600)
    if 17000 <= t < 17900:  # nearly nothing
        value *= 0.05
    return max(0, round(value))


def main():
    draw = random.Random(20261129)
    noise = 0.0
    print("# requests/s, one number for each 10 s; tests/data/autoscale/make_load.py")
    row = []
    for t in range(0, SECONDS + EVERY, EVERY):
        noise = 0.9 * noise + draw.gauss(0, 0.03)
        row.append(str(rate(t, noise)))
        if len(row) == 20:
            print(" ".join(row))
            row = []
    if row:
        print(" ".join(row))


main()
