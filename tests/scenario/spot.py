#!/usr/bin/env python3
"""Spot work on a real node: it runs at the market's price, is outbid, gets its notice, saves, waits, and
goes on by itself when the price allows; and it gives way to who pays more."""
import json
from decimal import Decimal

from harness import (case, check, conserved, equal, job_folder, need_sandbox, run, steps_in,
                     wait_until, went_on)

FACTS = {}  # what cases hand on
# Counts to $1, one step in 0.3 s; takes a while to leave when it is told to, and says what the notice
# said. With $2 it counts until then, however late it is told, and $1 steps more when it goes on.
WORKER = """#!/bin/sh
step=0 last=$1
[ -z "$2" ] || last=1000000
if [ -r "$SYNOR_CHECKPOINT_DIR/step" ]; then
    step=$(cat "$SYNOR_CHECKPOINT_DIR/step") && echo "from $step"
    [ -z "$2" ] || last=$((step + $1))
fi
trap 'stop=yes' TERM
while [ $step -lt $last ]; do
    sleep 0.3 & wait $!
    if [ -n "$stop" ]; then
        echo "notice: $(cat "$SYNOR_NOTICE")"
        sleep 2
        exit 0
    fi
    step=$((step + 1))
    echo $step >"$SYNOR_CHECKPOINT_DIR/.step"
    mv "$SYNOR_CHECKPOINT_DIR/.step" "$SYNOR_CHECKPOINT_DIR/step"
    echo "step $step"
done
"""


def spot(p, name, steps, price, *options, until_told=False):
    folder = job_folder(p.home, WORKER, args=[str(steps), *["until-told"] * until_told])
    return p.create(folder, "--spot", "--max-price", price, "--memory", "64mb", "--scratch", "64mb",
                    *options, name=name)


def offers(p):
    """Ids of what the provider offers."""
    return [order["id"] for order in p.json("market", "orders", "--account", "provider")["items"]
            if order["status"]["state"] == "open"]


def ask_nothing(p):
    """The provider takes its offers back: what is offered is kept from work on demand."""
    for order in offers(p):
        p.cli("market", "cancel", order, "--account", "provider", "--yes")


def ask(p, price):
    """The market asks this for an hour of a core, and nothing else: nor nothing in between, as then
    the floor is the price."""
    found = offers(p)
    for order in found:
        p.json("market", "amend", order, "--price", price, "--account", "provider")
    if not found:
        p.json("market", "sell", FACTS["class"], 1, "--price", price, "--account", "provider")


def status(p, job):
    return p.job(job)["status"]


@case
def a_node_lets_spot_work_in(p):
    p.start()
    need_sandbox(p)
    node = p.wait_node()
    FACTS["node"] = node["name"]
    FACTS["cores"] = node["status"]["capacity"]["cpu_millicores"] / 1000

    def found():
        rows = p.json("market", "classes")["items"]
        return next((row for row in rows if row["kind"] == "cpu" and row["duration"] == "hour"), None)
    FACTS["class"] = wait_until("the node tells of its cores", 60, found)["class"]
    asked = p.json("node", "price", node["name"], "--cpu", "0.02", "--spot-floor", "10")
    equal(asked["spot_floor_percent"], 10, asked)
    check("at least 10 %" in p.cli("node", "price", node["name"]).out)
    equal(p.error("node", "price", node["name"], "--spot-floor", "101", code=2)["code"], "invalid")
    ask(p, "0.004")


@case
def bids_that_make_no_sense_are_refused(p):
    said = p.error("compute", "train", "create", "--framework", "custom", "--model-config",
                   job_folder(p.home, WORKER) / "model.yaml", "--max-budget", "1", "--spot",
                   "--yes", code=2)
    check("max_price" in said["message"], said)
    p.error("compute", "train", "create", "--framework", "custom", "--model-config",
            job_folder(p.home, WORKER) / "model.yaml", "--max-budget", "1", "--spot",
            "--max-price", "0", "--yes", code=2)


@case
def outbid_noticed_and_resumed(p):
    spot(p, "outbid", 8, "0.01", "--cpus", "1", "--notice", "20s", until_told=True)
    p.wait_state("outbid", "running")
    instance = p.api("GET", f"/v1/instances/{status(p, 'outbid')['instances'][0]}")
    lease = instance["spec"]["lease"]
    equal((lease["terms"]["kind"], lease["terms"]["notice_ms"], lease["terms"]["max_price"],
           lease["price"]["cpu"]["price"]), ("spot", 20000, "0.01", "0.004"), lease)
    wait_until("it saved something", 60, lambda: len(steps_in(p.logs("outbid"))) > 2)
    ask(p, "0.015")
    wait_until("it is told", 60, lambda: status(p, "outbid")["reason"] == "outbid")
    wait_until("it waits", 60, lambda: (lambda s: (s["state"], s["reason"]))(
        status(p, "outbid")) == ("pending", "outbid"))
    notice = [json.loads(line.partition(" ")[2]) for line in p.logs("outbid").splitlines()
              if line.startswith("notice: ")]
    equal([(one["reason"], one["grace_ms"]) for one in notice], [("outbid", 20000)])
    why = p.json("compute", "explain", "outbid")
    check(any(row["dimension"] == "max_price" or "price" in row["dimension"] for row in why["why"]),
          why)
    p.kill()  # a server that comes back knows what it waits for
    p.start()
    equal(status(p, "outbid")["state"], "pending")
    ask(p, "0.005")
    equal(p.wait_end("outbid")["status"]["state"], "succeeded")
    went_on(p.logs("outbid"), 8)
    equal(status(p, "outbid")["attempt"], 2)
    bill = p.agreed_bill("outbid")
    prices = sorted(Decimal(line["price"]) for line in bill["status"]["lines"]
                    if line["item"] == "cpu")
    equal(prices, [Decimal("0.004"), Decimal("0.005")], bill)
    conserved(p)


@case
def who_pays_more_goes_first(p):
    every = f"{FACTS['cores']:g}"
    high = str(FACTS["cores"] * 0.05)
    spot(p, "low", 4, str(FACTS["cores"] * 0.03), "--cpus", every, "--notice", "20s", until_told=True)
    p.wait_state("low", "running")
    wait_until("low saved something", 60, lambda: len(steps_in(p.logs("low"))) > 2)
    spot(p, "high", 4, high, "--cpus", every, "--notice", "20s")
    equal(p.wait_end("high")["status"]["state"], "succeeded")
    check("preempted" in [event["type"] for event in p.events("low")], p.events("low"))
    equal(p.wait_end("low")["status"]["state"], "succeeded")
    went_on(p.logs("low"), 4)
    for job in ("low", "high"):
        p.agreed_bill(job)


@case
def work_on_demand_comes_before_spot(p):
    every = f"{FACTS['cores']:g}"
    spot(p, "idle-filler", 4000, str(FACTS["cores"] * 0.05), "--cpus", every, "--notice", "20s")
    p.wait_state("idle-filler", "running")
    ask_nothing(p)
    folder = job_folder(p.home, WORKER, args=["3"])
    p.create(folder, "--cpus", every, "--memory", "64mb", "--scratch", "64mb", "--priority", "0",
             name="on-demand")
    equal(p.wait_end("on-demand")["status"]["state"], "succeeded")
    p.wait_state("idle-filler", "running")
    p.cli("compute", "train", "stop", "idle-filler", "--yes")
    equal(p.wait_end("idle-filler")["status"]["state"], "stopped")


if __name__ == "__main__":
    run()
