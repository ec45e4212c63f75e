#!/usr/bin/env python3
"""A real service under real load: it grows, shrinks, sleeps and wakes, and says why."""
import http.client
import pathlib
import shutil
import subprocess
import sys
import threading

from harness import SOURCE, Skip, case, check, equal, need_networks, need_sandbox, run, wait_until

EXAMPLE = SOURCE / "examples/hello-service"
# As quick as the rule goes: a test waits for states, but it waits.
QUICK = {"min": 1, "max": 2, "every_ms": 1000, "average_ms": 0, "idle_ms": 2000,
         "down": {"stabilise_ms": 2000}}


def service(p):
    return p.json("compute", "service", "get", "busy")


def told(p, kind):
    said = p.json("compute", "service", "events", "busy")["items"]
    return [e["message"] for e in said if e["type"] == kind]


def wait_count(p, count, seconds=120):
    def look():
        status = service(p)["status"]
        good = (status["state"] == "running" and status["replicas"]["wanted"] == count and
                status["replicas"]["ready"] == count and len(status["endpoints"]) == count)
        return status if good else None
    return wait_until(f"{count} replicas are ready", seconds, look, 0.3)


def scale_by(p, **autoscale):
    p.api("PATCH", f"/v1/services/{p.busy}", {"spec": {
        "autoscale": {**QUICK, **autoscale}}})


class Load:
    """Clients that ask whatever is ready, as fast as it answers, until they are told to end."""

    def __init__(self, p):
        self.p, self.over, self.endpoints = p, threading.Event(), []
        self.threads = [threading.Thread(target=self.ask, args=(i,)) for i in range(4)]

    def ask(self, number):
        while not self.over.is_set():
            endpoints = self.endpoints
            if not endpoints:
                self.over.wait(0.1)
                continue
            endpoint = endpoints[number % len(endpoints)]
            connection = http.client.HTTPConnection(endpoint["address"], endpoint["port"],
                                                    timeout=5)
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
            except OSError:
                self.over.wait(0.05)
            finally:
                connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


@case
def a_service_with_bounds_is_deployed(p):
    if shutil.which("cc") is None:
        raise Skip("needs a C compiler")
    p.start()
    if "runc" not in need_sandbox(p):
        raise Skip("needs runc")
    layout = pathlib.Path(p.home) / "layout"
    built = subprocess.run([sys.executable, EXAMPLE / "build-image", layout], capture_output=True,
                           text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", layout, "--name", "images/hello")
    need_networks(p)
    made = p.json("compute", "service", "deploy", "--name", "busy", "--image",
                  "synor://images/hello", "--port", 8080, "--cpu", "0.05", "--memory", "64mb",
                  "--scratch", "16mb", "--drain", "100ms", "--isolation", "runc", "--autoscale",
                  "1-2", "--autoscale-metric", "cpu=50%", "--autoscale-window", "2s", "--yes")
    p.busy = made["id"]
    equal(made["spec"]["autoscale"]["metrics"], [{"metric": "cpu", "target": "50%"}])
    said = wait_until("it has come up, or never will", 90, lambda: next(
        (s for s in [service(p)] if s["status"]["state"] == "running" or told(p, "ended")), None))
    ends = told(p, "ended")
    equal(said["status"]["state"], "running", said["status"], ends)
    p.deployed = True
    wait_count(p, 1)


def need(p):
    if not getattr(p, "deployed", False):
        raise Skip("no service was deployed")


@case
def load_brings_a_second_replica_and_its_end_takes_it(p):
    need(p)
    # So little that it is used also where a busy machine leaves it little; at rest it uses none.
    scale_by(p, metrics=[{"metric": "cpu", "target": "5%"}])
    with Load(p) as load:
        load.endpoints = [e for e in service(p)["status"]["endpoints"] if e["ready"]]
        status = wait_count(p, 2)
        load.endpoints = status["endpoints"]
        said = p.json("compute", "service", "explain", "busy")
        check(any(row["dimension"] == "autoscale" and "cpu" in row["message"]
                  for row in said["why"]), said)
    wait_count(p, 1)
    moves = told(p, "scaled")
    check(any(m.startswith("1 -> 2") and "cpu" in m for m in moves), moves)
    check(any(m.startswith("2 -> 1") and "cpu" in m for m in moves), moves)


@case
def it_sleeps_without_demand_and_wakes_with_it(p):
    need(p)

    def queue(length):
        p.api("POST", f"/v1/services/{p.busy}/metrics", {"metrics": {"queue": length}})

    def keep(length, count):
        """What was told counts for a while only: tell it until that has come about."""
        def look():
            queue(length)
            return service(p)["status"]["replicas"] == {
                "wanted": count, "live": count, "ready": count, "updated": count}
        wait_until(f"a queue of {length} has {count} replicas", 120, look, 0.5)

    scale_by(p, min=0, metrics=[{"metric": "queue", "target": "10"}])
    keep(15, 2)
    keep(0, 0)
    equal(service(p)["status"]["reason"], "scaled-to-zero")
    keep(1, 1)
    moves = told(p, "scaled")
    check(any("no demand for 2.0s: no replica" in m or "no demand for 2s" in m for m in moves),
          moves)
    equal(p.api("POST", f"/v1/services/{p.busy}/metrics", {"metrics": {"cpu": 1}},
                want=400)["code"], "invalid")
    equal(p.api("POST", f"/v1/services/{p.busy}/metrics", {"metrics": {"queue": -1}},
                want=400)["code"], "invalid")


@case
def replicas_are_read_for_numbers_of_their_own(p):
    need(p)

    def by(series, target):
        # Also what runs already is read: it is no new version.
        said = p.json("compute", "service", "update", "busy", "--autoscale", "1-2", "--autoscale-metric",
                      f"prometheus::8080/metrics,{series},{target}", "--yes")
        equal(said["status"]["target"], 1)
        return said["spec"]["autoscale"]["metrics"]

    scale_by(p)
    wait_count(p, 1)
    equal(by('hello_level{replica="none"}', 5), [
        {"metric": "custom:hello_level", "target": "5",
         "scrape": {"port": 8080, "path": "/metrics", "series": 'hello_level{replica="none"}'}}])
    wait_until("it says what it could not read", 60, lambda: "there is no such series" in p.cli(
        "compute", "service", "explain", "busy").out, 0.3)
    by("hello_level", "0.6")
    wait_count(p, 2)
    moves = told(p, "scaled")
    check(moves[-1].startswith("1 -> 2") and "hello_level" in moves[-1], moves)
    by("hello_level", 10)
    wait_count(p, 1)


@case
def what_is_wrong_is_refused_in_a_sentence(p):
    need(p)
    for option, value, says in [
            ("--autoscale", "5-2", "5 to 2"), ("--autoscale", "many", "MIN-MAX"),
            ("--autoscale-metric", "cpu=0", "cpu: expected a number above 0"),
            ("--autoscale-metric", "load=3", "expected cpu=70%"),
            ("--autoscale-metric", "prometheus:/metrics,jobs", "prometheus:PORT/PATH,NAME"),
            ("--autoscale-metric", "prometheus:http://a/metrics,jobs,1", "the port"),
            ("--autoscale-metric", "prometheus:80800/metrics,jobs,1", "the port"),
            ("--autoscale-metric", "prometheus:/metrics,jobs{queue},1", "scrape.series"),
            ("--autoscale-schedule", "cron=0 0 30 2 *;for=1h", "has day 30"),
            ("--autoscale-schedule", "cron=0 8 * * *;for=1h;zone=Some/Where", "no time zone"),
            ("--autoscale-schedule", "when=1", "cron=, zone=")]:
        said = p.error("compute", "service", "update", "busy", option, value, "--yes", code=2)
        check(says in said["message"], option, value, said)
    off = p.json("compute", "service", "update", "busy", "--autoscale", "off", "--replicas", 1,
                 "--yes")
    check("autoscale" not in off["spec"], off["spec"])
    p.json("compute", "service", "stop", "busy", "--yes", "--wait")
    p.json("compute", "service", "delete", "busy", "--yes")
    wait_until("the agent destroys what has ended", 60, lambda: not p.instance_folders())


if __name__ == "__main__":
    run()
