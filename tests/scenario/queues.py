#!/usr/bin/env python3
"""Queues: what was sent is received until it is acknowledged, whatever is killed in between."""
import http.client
import json
import threading
import time

from harness import Platform, case, check, equal, run, wait_until

QUEUE = ("compute", "queue")


def bodies(p, name, *options):
    return [m["body"] for m in p.json(*QUEUE, "receive", name, *options)["items"]]


@case
def a_message_goes_its_way(p):
    p.start()
    p.json(*QUEUE, "create", "dead")
    p.json(*QUEUE, "create", "orders", "--visibility", "10m", "--max-receives", 2, "--dead-letter", "dead")
    p.cli(*QUEUE, "send", "orders", "first", "second")
    p.cli(*QUEUE, "send", "orders", "--delay", "1h", stdin="third\n")
    got = p.json(*QUEUE, "receive", "orders", "--max", 10)["items"]
    equal([m["body"] for m in got], ["first", "second"])
    p.cli(*QUEUE, "acknowledge", "orders", got[0]["receipt"])
    equal(p.error(*QUEUE, "acknowledge", "orders", got[0]["receipt"])["code"], "not-found")
    p.cli(*QUEUE, "release", "orders", got[1]["receipt"], "--delay", "0s")
    equal(bodies(p, "orders", "--wait", "30s"), ["second"])
    seen = p.json(*QUEUE, "peek", "orders")["items"]
    equal({m["body"]: m["receives"] for m in seen}, {"second": 2, "third\n": 0})
    said = p.cli(*QUEUE, "get", "orders").out
    check("2, 0 may be received now" in said and "dead after  2 receipts, to dead" in said, said)


@case
def the_dead_are_kept(p):
    p.json(*QUEUE, "update", "orders", "--visibility", "1ms")
    p.cli(*QUEUE, "send", "orders", "poison")
    wait_until("the dead letter is there", 60, lambda: bodies(p, "orders") is not None and
               p.json(*QUEUE, "get", "dead")["messages"] == 1, 0.05)
    letter = p.json(*QUEUE, "receive", "dead", "--acknowledge")["items"][0]
    equal((letter["body"], letter["from"]), ("poison", "orders"))
    equal(p.json(*QUEUE, "get", "dead")["messages"], 0)
    equal(p.error(*QUEUE, "rm", "dead", "--yes")["code"], "conflict")
    equal(p.error(*QUEUE, "rm", "orders", "--yes")["code"], "conflict")
    check(p.json(*QUEUE, "purge", "orders", "--yes")["deleted"] > 0)
    p.cli(*QUEUE, "rm", "orders", "--yes")


@case
def nothing_is_lost_to_kills(p):
    """Senders and receivers go on over two kills; each message that was said to be sent is
    received, and none is acknowledged twice. What a kill took the answer from is unsure."""
    p.api("PUT", "/v1/queues/busy", {"visibility_ms": "2s"}, want=201)
    sent, received, unsure, stop = set(), [], set(), threading.Event()

    def attempt(what, body):
        try:
            status, _, text = p.http("POST", f"/v1/queues/busy/{what}", body)
            return status, json.loads(text)
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)  # it is being started again
            return 0, {}

    def send():
        number = 0
        while not stop.is_set():
            number += 1
            if attempt("messages", {"messages": [{"body": str(number)}]})[0] == 201:
                sent.add(number)

    def receive():
        while not (stop.is_set() and sent <= set(received) | unsure):
            for message in attempt("receive", {"max": 10})[1].get("items", []):
                status, answer = attempt("acknowledge", {"receipts": [message["receipt"]]})
                if status == 0:
                    unsure.add(int(message["body"]))
                elif answer["done"]:
                    received.append(int(message["body"]))

    hands = [threading.Thread(target=send, daemon=True), threading.Thread(target=receive, daemon=True)]
    for hand in hands:
        hand.start()
    for goal in (30, 60):
        wait_until(f"{goal} are sent", 60, lambda goal=goal: len(sent) >= goal, 0.02)
        p.kill()
        p.start()
    wait_until("90 are sent", 60, lambda: len(sent) >= 90, 0.02)
    stop.set()
    for hand in hands:
        hand.join(120)
        check(not hand.is_alive(), "not received:", sorted(sent - set(received) - unsure))
    equal(len(received), len(set(received)), "acknowledged twice")
    check(len(unsure) <= 20, "two kills leave ten messages each unsure at most:", sorted(unsure))
    # What is left was sent without an answer, or is unsure: nothing that was acknowledged.
    left = {int(m["body"]) for m in p.api("GET", "/v1/queues/busy/messages")["items"]}
    check(not left & set(received) and left & sent <= unsure, sorted(left))


if __name__ == "__main__":
    run(Platform())
