#!/usr/bin/env python3
"""Money: grants, transfers, history, and that it neither appears nor vanishes."""
import json
import os
from decimal import Decimal

from harness import (SOURCE, all_accounts, balance, case, check, conserved, equal, job_folder,
                     need_sandbox, run)


@case
def first_start_grants_by_a_visible_mint(p):
    p.start()
    equal(balance(p, "operator"), 1000)
    history = p.json("account", "history", "operator")["items"]
    equal(len(history), 1, history)
    equal(history[0]["kind"], "mint", history)
    conserved(p)


@case
def grants_and_transfers(p):
    ann, bob = (p.json("account", "create", name)["id"] for name in ("ann", "bob"))
    p.json("account", "faucet", "ann", "--amount", "10.000000001")
    equal(balance(p, "ann"), Decimal("10.000000001"))
    moved = p.json("account", "transfer", "bob", "--from", "ann", "--amount", "0.000000001",
                   "--memo", "for tea")
    equal(sorted((e["account"], Decimal(e["amount"])) for e in moved["entries"]),
          sorted([(ann, Decimal("-0.000000001")), (bob, Decimal("0.000000001"))]))
    equal((balance(p, "ann"), balance(p, "bob")), (10, Decimal("0.000000001")))
    equal(p.json("account", "history", "bob")["items"][0]["memo"], "for tea")
    equal(p.error("account", "create", "ann")["code"], "already-exists")
    conserved(p)


@case
def what_is_not_there_cannot_be_spent(p):
    before = balance(p, "ann"), balance(p, "bob")
    said = p.error("account", "transfer", "ann", "--from", "bob", "--amount", "0.000000002", code=4)
    equal(said["code"], "insufficient-funds", said)
    for bad in ("-1", "0.0000000001", "1e3", "", "4000000001"):
        p.cli("account", "transfer", "bob", "--from", "ann", "--amount", bad, code=2)
    p.cli("account", "transfer", "bob", "--from", "ann", "--amount", "0", code=2)
    equal(p.error("account", "transfer", "nobody", "--amount", "1")["code"], "not-found")
    equal((balance(p, "ann"), balance(p, "bob")), before)


@case
def a_job_over_the_balance_uploads_nothing(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    (folder / "weights").write_bytes(os.urandom(1 << 20))
    before, stored = balance(p, "operator"), p.json("storage", "info")["put_bytes"]
    for more, code, word in ((["--max-budget", "100000"], 4, "insufficient-funds"),
                             (["--max-budget", "1", "--dataset", "synor://no/such"], 1,
                              "not-found")):
        args = ["compute", "train", "create", "--framework", "custom", "--model-config",
                folder / "model.yaml", *more]
        said = p.cli(*args, "--yes", "--json", code=code)
        equal(said.json["code"], word, said)
        check("Uploading" not in said.err, said)
        planned = p.json(*args, "--plan", code=None)
        equal(planned["refused"]["code"], word, planned)
    equal(p.json("storage", "info")["put_bytes"], stored, "something was uploaded")
    equal(list((p.home / "server" / "uploads").iterdir()), [], "an upload was begun")
    equal(balance(p, "operator"), before)


@case
def one_key_moves_money_once(p):
    before = balance(p, "bob")
    body = {"from": "ann", "to": "bob", "amount": "1"}
    headers = {"Idempotency-Key": "scenario-transfer-1"}
    first = p.api("POST", "/v1/transfers", body, headers=headers, want=201)
    p.kill()
    p.start()
    equal(p.api("POST", "/v1/transfers", body, headers=headers, want=201)["id"], first["id"])
    equal(balance(p, "bob"), before + 1)
    status, _, text = p.http("POST", "/v1/transfers", {**body, "amount": "2"}, headers)
    equal((status, json.loads(text)["code"]), (409, "conflict"))
    equal(balance(p, "bob"), before + 1)


@case
def a_job_is_paid_for_and_shared(p):
    need_sandbox(p)
    before = {a["id"]: Decimal(a["status"]["balance"]) for a in all_accounts(p)}
    job = p.create(SOURCE / "examples/hello-job", budget="2")
    tenant = job["account"]
    held = p.json("account", "balance", tenant)["status"]
    equal((Decimal(held["held"]), Decimal(held["balance"])), (2, before[tenant] - 2))
    conserved(p)
    p.wait_end(job["id"])
    bill = p.agreed_bill(job["id"])["status"]
    total, refund = Decimal(bill["total"]), Decimal(bill["refund"])
    check(0 < total < 2, bill)
    equal(total + refund, 2, bill)
    equal(Decimal(bill["provider_amount"]) + Decimal(bill["protocol_amount"]), total, bill)
    check(Decimal(bill["protocol_amount"]) < Decimal(bill["provider_amount"]), bill)
    after = {a["id"]: Decimal(a["status"]["balance"]) for a in all_accounts(p)}
    equal(after[tenant], before[tenant] - total)
    equal(Decimal(p.json("account", "balance", tenant)["status"]["held"]), 0)
    provider = p.json("account", "balance", "provider")["id"]
    equal(after[provider] - before[provider], Decimal(bill["provider_amount"]))
    conserved(p)


@case
def an_account_sees_only_its_own(p):
    token = p.json("account", "token", "bob", "--scope", "tenant")["token"]
    headers = {"Authorization": f"Bearer {token}", "X-Synor-Account": "ann"}
    # Over the socket we are the operator; a token given there must still count as itself.
    status, _, text = p.http("GET", "/v1/accounts/ann", headers=headers)
    check(status in (403, 404), status, text)
    status, _, text = p.http("POST", "/v1/transfers", {"from": "ann", "to": "bob", "amount": "1"},
                             headers)
    check(status in (403, 404), status, text)
    status, _, text = p.http("POST", "/v1/accounts/bob/faucet", {"amount": "1"},
                             {"Authorization": f"Bearer {token}"})
    equal(status, 403, text)


run()
