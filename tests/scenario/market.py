#!/usr/bin/env python3
"""The spot market: two tenants and the local provider trade, the daemon is killed in the middle, and
money, units and orders agree afterwards.

`SYNOR_SEED=N tests/scenario/market.py` repeats a run's choices as far as the machine does."""
import json
import os
import random
import threading
import time
from decimal import Decimal

from harness import (all_accounts, balance, case, check, conserved, equal, run, wait_until)

SEED = int(os.environ.get("SYNOR_SEED") or random.randrange(1 << 32))
KILLS = 6
FACTS = {}  # what cases hand on: the class, ids of accounts


def orders(p, **query):
    found, tail = [], "".join(f"&{key}={value}" for key, value in query.items())
    while True:
        page = p.api("GET", f"/v1/market/orders?limit=1000&all=true{tail}")
        found += page["items"]
        if not page["next"]:
            return found
        tail = tail.split("&after=")[0] + "&after=" + page["next"]


def holdings(p, account):
    found = p.json("market", "holdings", "--account", account)["items"]
    return next((one for one in found if one["class"] == FACTS["class"]),
                {"free": 0, "held": 0, "issued": 0, "sold": 0})


def agree(p):
    """What accounts hold is what their orders hold; what the provider sold is what others have."""
    conserved(p)
    held = {}
    for order in orders(p, state="open"):
        held[order["account"]] = held.get(order["account"], 0) + Decimal(order["status"]["held"])
    for account in all_accounts(p):
        equal(Decimal(account["status"]["held"]), held.get(account["id"], 0), account["name"])
    provider = holdings(p, "provider")
    others = [holdings(p, name) for name in ("ann", "bob")]
    equal(provider["sold"], sum(one["free"] + one["held"] for one in others), provider, others)
    check(provider["issued"] <= FACTS["cores"], provider)


@case
def cores_of_the_node_can_be_traded(p):
    p.start()
    node = p.wait_node()

    def found():
        rows = p.json("market", "classes")["items"]
        return next((row for row in rows if row["kind"] == "cpu" and row["duration"] == "hour"), None)
    row = wait_until("the node tells of its cores", 60, found)
    equal(row["open"], False, row)
    FACTS["class"] = row["class"]
    FACTS["cores"] = node["status"]["capacity"]["cpu_millicores"] // 1000
    for name in ("ann", "bob"):
        FACTS[name] = p.json("account", "create", name)["id"]
        p.json("account", "faucet", name, "--amount", "10")
    said = p.cli("market", "classes").out
    check("Nothing is traded yet" in said and "--all" in said, said)


@case
def a_plan_an_offer_and_a_purchase(p):
    cores, name = FACTS["cores"], FACTS["class"]
    said = p.cli("market", "sell", name, cores, "--price", "0.015", "--account", "provider")
    check("Rests in the book" in said.out and "Next:" in said.out, said)
    over = p.error("market", "sell", name, 1, "--price", "1", "--account", "provider", code=4)
    check(f"have {cores} of" in over["message"], over)
    plan = p.json("market", "buy", name, 1, "--price", "0.02", "--plan", "--account", "ann")
    equal((plan["trades"], plan["cost"], plan["fee"], plan["balance_after"]),
          (1, "0.015", "0", "9.985"), plan)
    equal(balance(p, "ann"), 10, "a plan moved money")
    bought = p.json("market", "buy", name, 1, "--price", "0.02", "--account", "ann")
    equal((bought["status"]["state"], bought["status"]["paid"]), ("filled", "0.015"), bought)
    equal((balance(p, "ann"), balance(p, "provider")), (Decimal("9.985"), Decimal("0.015")))
    equal(p.error("market", "buy", name, 1000, "--price", "1", "--account", "bob",
                  code=4)["code"], "insufficient-funds")
    history = p.json("account", "history", "ann")["items"][0]
    check("order" in history["memo"] and name in history["memo"], history)
    agree(p)


@case
def what_was_bought_is_sold_again(p):
    name = FACTS["class"]
    bid = p.json("market", "buy", name, 2, "--price", "0.01", "--account", "bob")
    equal((bid["status"]["state"], bid["status"]["held"]), ("open", "0.02"), bid)
    equal(balance(p, "bob"), Decimal("9.98"))
    sold = p.json("market", "sell", name, 1, "--price", "0.01", "--account", "ann")
    equal(sold["status"]["state"], "filled", sold)
    equal(holdings(p, "bob")["free"], 1)
    trades = p.json("market", "trades", name, "--mine", "--account", "bob")["items"]
    equal([(one["price"], one["mine"]) for one in trades], [("0.01", "buy")])
    p.json("market", "amend", bid["id"], "--price", "0.012", "--account", "bob")
    index = p.json("market", "index", name, "--window", "5m")
    equal((index["basis"], index["count"]), ("trades", 2), index)
    agree(p)


@case
def watching_tells_of_every_change(p):
    watcher = p.spawn("market", "orders", "--watch", "--json", "--account", "bob")
    book = p.spawn("market", "book", FACTS["class"], "--watch", "--json")
    lines = {watcher: [], book: []}

    def read(process):
        for line in process.stdout:
            lines[process].append(line.decode())
    for process in lines:
        threading.Thread(target=read, args=(process,), daemon=True).start()
    wait_until("what there is", 20, lambda: all(lines.values()))
    p.json("market", "cancel", "--all", "--account", "bob")
    wait_until("the order's end is told", 20,
               lambda: any('"canceled"' in line for line in lines[watcher]))
    wait_until("the bid has left the book", 20,
               lambda: any(json.loads(line)["bids"] == [] for line in lines[book][1:]))
    for process in lines:
        process.send_signal(2)
        equal(process.wait(timeout=60), 130)
    agree(p)


class Trader(threading.Thread):
    """Places and cancels orders all the while; repeats what was not acknowledged, under its key."""

    def __init__(self, p, name, rng):
        super().__init__(daemon=True)
        self.p, self.name, self.rng = p, name, rng
        self.over, self.wrong, self.acknowledged = False, None, {}

    def ask(self, method, path, body, number):
        """Until it is answered: an order whose answer we never saw may have been placed."""
        headers = {"X-Synor-Account": FACTS[self.name],
                   "Idempotency-Key": f"{self.name}-moment-{number}"}
        while True:
            try:
                status, _, text = self.p.http(method, path, body, headers, timeout=5)
            except OSError:
                time.sleep(0.01)
                continue
            except Exception as error:  # http.client tells a cut answer in many ways
                if "http" not in type(error).__module__:
                    raise
                continue
            if status != 503:
                return status, json.loads(text)

    def run(self):
        number = 0
        while not self.over:
            number += 1
            time.sleep(0.005)
            body = {"class": FACTS["class"], "side": self.rng.choice(("buy", "sell")),
                    "qty": self.rng.randint(1, 3),
                    "price": f"0.0{self.rng.randint(10, 20)}", "stp": "older"}
            status, said = self.ask("POST", "/v1/market/orders", body, number)
            if status not in (201, 402):
                self.wrong = status, said
                return
            if status == 201:
                self.acknowledged[said["id"]] = body
            if status == 201 and self.rng.random() < 0.4:
                number += 1
                status, said = self.ask("DELETE", f"/v1/market/orders/{said['id']}", None, number)
                if status not in (200, 409):
                    self.wrong = status, said
                    return


@case
def no_order_and_no_money_is_lost_by_kills(p):
    rng = random.Random(SEED)
    print(f"# seed {SEED}")
    traders = [Trader(p, name, random.Random(rng.random())) for name in ("ann", "bob")]
    for trader in traders:
        trader.start()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.1, 1.0))
        p.kill()
        p.launch()
        time.sleep(rng.choice((rng.uniform(0, 0.3), rng.uniform(0.5, 1.5))))
    p.wait_ready()
    time.sleep(1)
    for trader in traders:
        trader.over = True
    for trader in traders:
        trader.join(timeout=60)
        check(not trader.is_alive() and trader.wrong is None, trader.name, trader.wrong)
    agree(p)
    known = {order["id"]: order for order in orders(p)}
    count = 0
    for trader in traders:
        for id_, body in trader.acknowledged.items():
            count += 1
            check(id_ in known, id_, "was acknowledged and is not there")
            equal(known[id_]["account"], FACTS[trader.name])
            equal(known[id_]["spec"]["side"], body["side"])
    check(count >= 10, "hardly an order:", count)
    # Nor more than was asked for: one order a key.
    mine = [o for o in known.values() if o["account"] in (FACTS["ann"], FACTS["bob"])]
    equal(len(mine) - 3, count, "orders that nobody asked for")
    traded = sum(o["status"]["traded"] * (1 if o["spec"]["side"] == "buy" else -1)
                 for o in known.values())
    equal(traded, 0, "more was bought than sold")


@case
def offers_go_when_their_node_goes(p):
    for name in ("ann", "bob", "provider"):
        p.json("market", "cancel", "--all", "--account", name)
    # Sold units stay sold; what is not sold can be offered again.
    spare = FACTS["cores"] - holdings(p, "provider")["sold"]
    if spare == 0:
        p.json("market", "sell", FACTS["class"], 1, "--price", "0.001", "--account",
               "ann" if holdings(p, "ann")["free"] else "bob")
        p.json("market", "buy", FACTS["class"], 1, "--price", "0.001", "--account", "provider")
    offer = p.json("market", "sell", FACTS["class"], 1, "--price", "5", "--account", "provider")
    p.json("node", "drain", p.wait_node()["id"], "--yes")

    def canceled():
        order = p.api("GET", f"/v1/market/orders/{offer['id']}")["status"]
        return order if order["state"] == "canceled" else None
    order = wait_until("the offer is cancelled", 40, canceled)
    equal(order["reason"], "capacity", order)
    p.json("node", "drain", p.wait_node()["id"], "--off")
    agree(p)


run()
