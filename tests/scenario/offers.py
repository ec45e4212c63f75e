#!/usr/bin/env python3
"""Two nodes that ask different prices: what is planned, where a job with a price ceiling goes, what
it is leased at, and that the bill says so, whatever is changed or killed in between."""
from decimal import Decimal

from harness import COUNTER, Platform, case, check, conserved, equal, job_folder, need_sandbox, run, \
    wait_until

FACTS = {}  # what cases hand on
# An hour of the default worker: 1 core, 2 GiB of memory, 4 GiB of scratch space.
CHEAP, DEAR = Decimal("0.016"), Decimal("0.124")


def base(folder, *options):
    return ["compute", "train", "create", "--framework", "custom", "--model-config",
            folder / "model.yaml", "--max-budget", "1", *options]


def price_of(lines, item):
    found = [line for line in lines if line["item"] == item]
    equal(len(found), 1, lines)
    return Decimal(found[0]["price"])


@case
def two_nodes_ask_different_prices(p):
    p.start()
    need_sandbox(p)
    FACTS["dear"] = p.wait_node()
    token = p.json("account", "token", "provider", "--scope", "join")["token"]
    prices = p.home / "prices.json"
    prices.write_text("[1")
    FACTS["agent"] = Platform("--server", str(p.home / "synor.sock"), "--token", token, "--name",
                              "cheap", "--price-file", str(prices), command="agent")
    p.cli("agent", "--server", str(p.home / "synor.sock"), "--token", token, "--price-file",
          str(prices), code=2)
    prices.write_text('{"cpu_core_hour": "0.030", "spot_floor_percent": 50}')
    FACTS["agent"].start()
    cheap = wait_until("it joined", 20, lambda: next(
        (n for n in p.json("node", "list")["items"] if n["name"] == "cheap"), None))
    FACTS["cheap"] = cheap
    equal(cheap["spec"]["offer"], {"cpu_core_hour": "0.03", "spot_floor_percent": 50})
    listed = p.json("node", "price", "cheap", "--cpu", "0.01", "--memory", "0.001")
    equal({row["item"]: (row["price"], row["offered"]) for row in listed["prices"]},
          {"cpu": ("0.01", True), "memory": ("0.001", True), "scratch": ("0.001", False)}, listed)
    p.json("node", "price", FACTS["dear"]["id"], "--cpu", "0.08", "--memory", "0.02")
    equal(p.json("node", "get", "cheap")["spec"]["offer"],
          {"cpu_core_hour": "0.01", "memory_gib_hour": "0.001", "spot_floor_percent": 50})


@case
def bad_prices_are_refused_and_change_nothing(p):
    before = p.json("node", "get", "cheap")
    for options, code in ((["--cpu", "-1"], 2), (["--cpu", "much"], 2), (["--cpu", "1e3"], 2),
                          (["--cpu", "10000.1"], 2), (["--gpu", "h100=1"], 2),
                          (["--gpu", "h100"], 2), (["--gpu", "=1"], 2), (["--memory", ""], 2)):
        said = p.error("node", "price", "cheap", *options, code=code)
        equal(said["code"], "invalid", options, said)
    equal(p.error("node", "price", "nobody", "--cpu", "1")["code"], "not-found")
    after = p.json("node", "get", "cheap")
    equal((after["spec"], after["generation"]), (before["spec"], before["generation"]))


@case
def capacity_tells_what_is_free_and_what_it_costs(p):
    told = p.json("node", "list", "--capacity")
    rows = {row["name"]: row for row in told["nodes"]}
    equal(rows["cheap"]["cpu_millicores"]["price_hour"], "0.01", rows)
    equal(rows["cheap"]["scratch_bytes"]["price_hour"], "0.001", rows)
    equal(rows[FACTS["dear"]["name"]]["memory_bytes"]["price_hour"], "0.02", rows)
    for row in rows.values():
        for key in ("cpu_millicores", "memory_bytes", "scratch_bytes"):
            equal(row[key]["used"] + row[key]["free"], row[key]["capacity"], row)
        equal(row["modelled"], [], row)
    equal(told["total"]["nodes"], {"ready": 2, "drained": 0, "away": 0}, told)
    equal(told["total"]["cpu_millicores"]["capacity"],
          sum(row["cpu_millicores"]["capacity"] for row in rows.values()), told)
    text = p.cli("node", "list", "--capacity").out
    for word in ("FREE", "AN HOUR", "core", "GiB", "total", "SYNOR"):
        check(word in text, word, "is not shown:", text)
    alone = p.json("node", "get", "cheap", "--capacity")
    equal([row["name"] for row in alone["nodes"]], ["cheap"], alone)
    p.cli("node", "list", "--capacity", "--watch", code=2)


@case
def plans_show_prices_and_alternatives(p):
    FACTS["folder"] = folder = job_folder(p.home, COUNTER, args=["1", "until-asked"])
    plan = p.json(*base(folder, "--plan"))
    rates = {plan["nodes"][0]["node"]: Decimal(plan["nodes"][0]["rate_hour"])}
    rates |= {row["node"]: Decimal(row["rate_hour"]) for row in plan["alternatives"]}
    equal(rates, {FACTS["cheap"]["id"]: CHEAP, FACTS["dear"]["id"]: DEAR}, plan)
    equal(Decimal(plan["rate_hour"]), rates[plan["nodes"][0]["node"]], plan)
    equal(Decimal(plan["rate_month"]), Decimal(plan["rate_hour"]) * 730, plan)
    # A ceiling leaves out what costs more; one that nothing meets is told, with the way out.
    plan = p.json(*base(folder, "--plan", "--max-price", "0.05"))
    equal(([row["node"] for row in plan["nodes"]], plan["alternatives"]),
          ([FACTS["cheap"]["id"]], []), plan)
    plan = p.json(*base(folder, "--plan", "--max-price", "0.015999999"), code=3)
    equal(plan["reason"], "too-dear", plan)
    check(any("--max-price 0.016" in fix for fix in plan["fix"]), plan)
    check(any(row["dimension"] == "price" and row["node"] == FACTS["dear"]["id"]
              for row in plan["why"]), plan)
    text = p.cli(*base(folder, "--plan")).err
    for word in ("chosen", "instead", "A MONTH", "0.016", "0.124", "a month"):
        check(word in text, word, "is not shown:", text)
    dear = Decimal(p.json(*base(folder, "--plan"))["rate_hour"]) == DEAR
    equal("costs less on" in text, dear, text)
    for bad in ("0", "-1", "cheap"):
        p.cli(*base(folder, "--plan", "--max-price", bad), code=2)
    p.cli(*base(folder, "--plan", "--policy", "whim"), code=2)


@case
def a_price_ceiling_takes_a_job_to_the_cheap_node_and_the_bill_has_its_price(p):
    job = p.json(*base(FACTS["folder"], "--max-price", "0.05", "--yes", "--name", "thrifty"))["id"]
    p.wait_state(job, "running")
    explained = p.json("compute", "explain", job)
    leases = explained["leases"]
    equal([(row["node"], Decimal(row["rate_hour"])) for row in leases],
          [(FACTS["cheap"]["id"], CHEAP)], explained)
    lease = leases[0]["lease"]
    equal(lease["price"], {"cpu": {"price": "0.01", "unit": "core-hour"},
                           "memory": {"price": "0.001", "unit": "gb-hour"},
                           "scratch": {"price": "0.001", "unit": "gb-hour"}}, lease)
    equal(lease["terms"], {"kind": "on-demand", "notice_ms": 30000, "max_price": "0.05"}, lease)
    text = p.cli("compute", "explain", "thrifty").out
    for word in ("running", "Leased at:", "0.01", "core-hour", "on-demand"):
        check(word in text, word, "is not shown:", text)
    # Dearer from now on: not for what runs. And the daemon, with the dear node in it, is killed.
    p.json("node", "price", "cheap", "--cpu", "5")
    p.kill()
    p.start()
    p.json("node", "price", "cheap", "--default", "--memory", "7")
    after = p.json("compute", "explain", job)["leases"]
    equal((after[0]["lease"], after[0]["rate_hour"]), (lease, leases[0]["rate_hour"]))
    p.cli("compute", "train", "stop", job, "--yes", "--wait")
    ended = p.job(job)
    equal((ended["status"]["state"], ended["status"]["attempt"]), ("stopped", 1), ended)
    bill = p.agreed_bill(job)
    lines = bill["status"]["lines"]
    equal({item: price_of(lines, item) for item in ("cpu", "memory", "scratch")},
          {"cpu": Decimal("0.01"), "memory": Decimal("0.001"), "scratch": Decimal("0.001")})
    evidence = p.api("GET", f"/v1/bills/{bill['id']}/evidence")
    equal(list(evidence["leases"].values()), [lease], evidence["leases"])
    check(all(len(report["lease"]) == 64 for report in evidence["reports"]), "not signed for")
    exact = sum(Decimal(line["quantity"]) * Decimal(line["price"]) / Decimal(line["per"])
                for line in lines)
    equal(Decimal(bill["status"]["total"]), exact.quantize(Decimal("1e-9"), "ROUND_FLOOR"))
    conserved(p)


@case
def what_waits_for_a_cheaper_offer_starts_when_there_is_one(p):
    p.json("node", "price", "cheap", "--default", "--cpu", "0.5")
    folder = job_folder(p.home, "#!/bin/sh\necho ran\n")
    job = p.json(*base(folder, "--max-price", "0.05", "--yes", "--name", "patient"))["id"]
    wait_until("it waits", 20, lambda: p.job(job)["status"]["reason"] == "too-dear")
    text = p.cli("compute", "explain", job).out
    for word in ("price", "0.05", "--max-price"):
        check(word in text, word, "is not shown:", text)
    p.json("node", "price", "cheap", "--cpu", "0.02")
    equal(p.wait_end(job)["status"]["state"], "succeeded")
    equal(price_of(p.agreed_bill(job)["status"]["lines"], "cpu"), Decimal("0.02"))
    conserved(p)


@case
def the_second_node_leaves(p):
    agent = FACTS.pop("agent", None)
    if agent is None:
        return
    tail = agent.log_tail()
    if agent.process is not None:
        agent.stop()
    agent.sweep()
    print("\n".join("# agent: " + line for line in tail.splitlines()[-3:]), flush=True)


run()
