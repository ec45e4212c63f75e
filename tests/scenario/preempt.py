#!/usr/bin/env python3
"""Work of higher priority takes the room of lower: the lower saves, stops, waits and goes on."""
from harness import (COUNTER, Platform, case, check, equal, job_folder, need_sandbox, run,
                     steps_in, wait_until, went_on)


def cores(p):
    """The room of the only node, as `--cpus` takes it."""
    return p.json("node", "list")["items"][0]["status"]["capacity"]["cpu_millicores"] / 1000


def counter(p, steps, name, priority, cpus, *until_asked):
    folder = job_folder(p.home, COUNTER, args=[str(steps), *until_asked])
    return p.create(folder, "--priority", str(priority), "--cpus", f"{cpus:g}", "--memory", "64mb",
                    "--scratch", "64mb", name=name)


def reason(p, job):
    return p.job(job)["status"]["reason"]


def saved(p, job):
    wait_until(f"{job} saved something", 60, lambda: len(steps_in(p.logs(job))) > 2)


def types(p, job):
    return [event["type"] for event in p.events(job)]


@case
def a_job_gives_way_and_goes_on(p):
    """Nothing that it saved is lost, nothing is done twice, and each is billed for what it had."""
    p.start()
    need_sandbox(p)
    all_cores = cores(p)
    counter(p, 4, "low", 100, all_cores, "until-asked")
    p.wait_state("low", "running")
    saved(p, "low")
    counter(p, 2, "equal", 100, all_cores)
    said = p.json("compute", "train", "explain", "equal")
    equal((said["state"], said["position"], said["queue"]), ("pending", 1, 1), said)
    check("number" in p.cli("compute", "train", "explain", "equal").out)
    counter(p, 2, "high", 900, all_cores)
    p.wait_state("high", "succeeded")
    check("preempted" in types(p, "low"), types(p, "low"))
    equal(p.wait_end("low")["status"]["state"], "succeeded")
    equal(p.wait_end("equal")["status"]["state"], "succeeded")
    went_on(p.logs("low"), 4)
    equal(p.job("low")["status"]["retries"], 0)
    for name in ("low", "high", "equal"):
        p.agreed_bill(name)


@case
def a_server_that_dies_in_between_goes_on_with_it(p):
    """kill -9 while the lower is asked to stop, and while the higher waits for it."""
    need_sandbox(p)
    all_cores = cores(p)
    counter(p, 4, "low-2", 100, all_cores, "until-asked")
    p.wait_state("low-2", "running")
    saved(p, "low-2")
    counter(p, 2, "high-2", 900, all_cores)
    p.kill()
    p.start()
    p.wait_state("high-2", "succeeded")
    equal(p.wait_end("low-2")["status"]["state"], "succeeded")
    went_on(p.logs("low-2"), 4)
    p.agreed_bill("low-2")
    p.agreed_bill("high-2")


@case
def what_was_asked_for_can_be_taken_back(p):
    """A waiting job that is stopped leaves the room to who comes next."""
    need_sandbox(p)
    all_cores = cores(p)
    counter(p, 1, "holder", 500, all_cores, "until-asked")
    p.wait_state("holder", "running")
    counter(p, 2, "first", 500, all_cores)
    counter(p, 2, "second", 500, all_cores)
    p.cli("compute", "train", "stop", "first", "--yes")
    equal(p.wait_end("first")["status"]["state"], "stopped")
    p.cli("compute", "train", "stop", "holder", "--yes")
    equal(p.wait_end("second")["status"]["state"], "succeeded")


@case
def a_node_that_is_drained_gives_its_work_to_others(p):
    """Where no other has room the work stays; where one has, it goes on there."""
    need_sandbox(p)
    token = p.json("account", "token", "provider", "--scope", "join")["token"]
    second = Platform("--server", str(p.home / "synor.sock"), "--token", token, "--name", "second",
                      command="agent")
    try:
        second.start()
        moves(p)
        second.stop()
    finally:
        second.sweep()


def moves(p):
    other = wait_until("it joined", 60, lambda: next(
        (n for n in p.json("node", "list")["items"] if n["name"] == "second"), None))
    first = next(n for n in p.json("node", "list")["items"] if n["name"] != "second")
    p.json("node", "drain", other["id"], "--yes")
    counter(p, 4, "mover", 500, 0.5, "until-asked")
    p.wait_state("mover", "running")
    equal(p.job("mover")["status"]["node"], first["id"])
    saved(p, "mover")
    p.json("node", "drain", first["id"], "--yes")
    before = len(steps_in(p.logs("mover")))
    wait_until("it goes on where it is", 60, lambda: len(steps_in(p.logs("mover"))) > before + 1)
    equal(p.job("mover")["status"]["state"], "running")
    p.kill()  # a server that comes back knows what is to move
    p.start()
    p.json("node", "drain", other["id"], "--off")
    equal(p.wait_end("mover")["status"]["state"], "succeeded")
    status = p.job("mover")["status"]
    equal((status["node"], status["attempt"], status["retries"]), (other["id"], 2, 0), status)
    check("drained" in types(p, "mover"), types(p, "mover"))
    went_on(p.logs("mover"), 4)
    p.agreed_bill("mover")
    p.json("node", "drain", first["id"], "--off")


if __name__ == "__main__":
    run()
