"""market-replay from outside: the same trades as the reference book, a log that survives kill -9 at
any moment, and what it refuses.

    replay.py MARKET-REPLAY [NAME...]

The reference book lies beside the project (shared/peers/market); what needs it is skipped where it is
not there. NAME...: only these cases.
"""
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

REPLAY = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HARNESS = os.path.join(os.path.dirname(ROOT), "shared", "peers", "market", "market.c")
RECORD = struct.Struct("<BBHIQq")
CASES = []


class Skip(Exception):
    """The case cannot be tried here."""


def case(function):
    CASES.append(function)
    return function


def replay(*arguments, code=0):
    done = subprocess.run([REPLAY, *arguments], text=True, capture_output=True, check=False, timeout=240)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}, not {code}\n{done}"
    return dict(re.findall(r"^(\w+) (\S+)$", done.stdout, re.M)) if code == 0 else done.stderr


def workload(path, count, seed=7):
    """Orders that rest, cross, are reduced and cancelled, in three books."""
    draw, live, records = random.Random(seed), [], []
    for number in range(1, count + 1):
        pick = draw.random()
        if live and pick < 0.35:
            at = draw.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            order, side = live.pop()
            records.append(RECORD.pack(ord("C"), side, 0, 0, order, 0))
        elif live and pick < 0.4:
            order, side = draw.choice(live)
            records.append(RECORD.pack(ord("R"), side, 0, 1, order, 0))
        else:
            side, cross = draw.randrange(2), draw.random() < 0.1
            away = -4 if cross else draw.randrange(1, 40)
            records.append(RECORD.pack(ord("I" if cross else "A"), side, draw.randrange(3),
                                       draw.randrange(1, 50), number, 1000 + (away if side else -away)))
            if not cross:
                live.append((number, side))
    with open(path, "wb") as file:
        file.write(b"".join(records))
    return path


@case
def same_trades_as_the_reference(folder):
    if not os.path.exists(HARNESS):
        raise Skip("no shared/peers/market beside the project")
    market, path = os.path.join(folder, "market"), os.path.join(folder, "w.bin")
    subprocess.run(["cc", "-O1", "-w", "-o", market, HARNESS], check=True)
    for profile in ["steady", "deep", "cross", "multi", "surge", "amend"]:
        said = subprocess.run([market, "gen", profile, "3", "60000", path], check=True, text=True,
                              capture_output=True).stdout
        want = re.search(r"(\d+) trades, .*checksum ([0-9a-f]+)", said)
        for arguments in ([path], ["--accounts", path]):
            found = replay(*arguments)
            assert (found["trades"], found["checksum"]) == want.groups(), (profile, arguments, found, said)
            assert float(found["mops"]) > 0 and found["ignored"] == "0"


@case
def the_log_is_the_exchange(folder):
    path, log = workload(os.path.join(folder, "w.bin"), 30000), os.path.join(folder, "log")
    core, accounts = replay(path), replay("--accounts", path)
    assert int(core["trades"]) > 1000 and core["checksum"] == accounts["checksum"]
    written = replay("--journal", log, path)
    assert written["checksum"] == core["checksum"] and int(written["commits"]) > 1
    recovered = replay("--recover", log)
    assert recovered["checksum"] == core["checksum"] and recovered["records"] == "30000"
    assert recovered["trades"] == core["trades"]
    again = replay("--journal", log, path)  # nothing is left to do
    assert again["records"] == "0" and again["checksum"] == core["checksum"]


@case
def survives_kill(folder):
    path = workload(os.path.join(folder, "w.bin"), 150000)
    with open(path, "rb") as file:
        records = file.read()
    whole, cut = replay(path), 0
    for turn in range(4):
        log = os.path.join(folder, f"log-{turn}")
        process = subprocess.Popen([REPLAY, "--journal", log, path], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        enough = [90000, 200000, 500000, 900000][turn]
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if os.path.getsize(os.path.join(log, "market.log")) > enough:
                    break
            except FileNotFoundError:
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = replay("--recover", log)
        done = int(found["records"])
        cut += 0 < done < 150000
        part = os.path.join(folder, "part.bin")
        with open(part, "wb") as file:
            file.write(records[:done * RECORD.size])
        assert found["checksum"] == replay("--accounts", part)["checksum"], (turn, found)
        assert replay("--journal", log, path)["checksum"] == whole["checksum"]  # goes on
        assert replay("--recover", log)["checksum"] == whole["checksum"]
    assert cut > 0, "every process was done before it was killed"


@case
def torn_and_spoilt_logs(folder):
    path, log = workload(os.path.join(folder, "w.bin"), 4000), os.path.join(folder, "log")
    whole, file = replay("--journal", log, path), os.path.join(log, "market.log")
    with open(file, "rb") as stream:
        good = stream.read()
    starts = [found.start() for found in re.finditer(b"SYNB", good)]
    assert len(starts) > 2
    for size in (len(good) - 1, starts[-1] + 7, starts[-1] + 31, starts[-1]):
        with open(file, "wb") as stream:
            stream.write(good[:size])
        assert int(replay("--recover", log)["records"]) < 4000
        assert replay("--journal", log, path)["checksum"] == whole["checksum"]
        assert replay("--recover", log)["records"] == "4000"
    for at in (3, starts[1] + 40):
        with open(file, "wb") as stream:
            stream.write(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
        assert "no batch at byte" in replay("--recover", log, code=1)
        assert "no batch at byte" in replay("--journal", log, path, code=1)
        assert os.path.getsize(file) == len(good)  # and it is left as it is


@case
def refuses(folder):
    path = os.path.join(folder, "bad.bin")
    fine = RECORD.pack(ord("A"), 0, 0, 5, 1, 10)
    for record, says in [(RECORD.pack(ord("Z"), 0, 0, 5, 2, 10), "record 1: op: 90"),
                         (RECORD.pack(ord("A"), 2, 0, 5, 2, 10), "record 1: side: 2"),
                         (RECORD.pack(ord("A"), 0, 0, 0, 2, 10), "record 1: qty"),
                         (RECORD.pack(ord("A"), 0, 0, 5, 2, -1), "record 1: price"),
                         (RECORD.pack(ord("A"), 0, 0, 5, 1, 10), "record 1: id"),
                         (RECORD.pack(ord("A"), 0, 0, 5, 0, 10), "record 1: id"),
                         (fine[:-1], "record 1 is cut off")]:
        with open(path, "wb") as file:
            file.write(fine + record)
        assert says in replay(path, code=1), says
        if "id" not in says:
            assert says in replay("--accounts", path, code=1), says
    with open(path, "wb") as file:
        file.write(fine + RECORD.pack(ord("C"), 0, 0, 0, 77, 0))
    assert replay(path)["ignored"] == "1" and replay("--accounts", path)["ignored"] == "1"
    assert "no-such" in replay(os.path.join(folder, "no-such"), code=1)
    assert "usage" in replay(code=2) and "usage" in replay("--sideways", path, code=2)


def main():
    wanted = [function for function in CASES if not sys.argv[2:] or function.__name__ in sys.argv[2:]]
    failed = 0
    print(f"1..{len(wanted)}", flush=True)
    for number, function in enumerate(wanted, 1):
        with tempfile.TemporaryDirectory(prefix="synor-market-") as folder:
            try:
                function(folder)
                print(f"ok {number} - {function.__name__}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {function.__name__} # SKIP {reason}", flush=True)
            except Exception:
                failed += 1
                print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
                print(f"not ok {number} - {function.__name__}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
