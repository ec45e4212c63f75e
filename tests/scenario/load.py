"""A steady load of HTTP requests that counts every one that fails."""
import http.client
import threading
import time


class Load:
    """Clients that ask without a pause; half of them keep their connection.

    What fails was under way; what is refused never began, and is counted by itself: how often a
    closed door is knocked at says nothing but for how long it was closed.
    """

    def __init__(self, host, port, clients=4, path="/"):
        self.host, self.port, self.path = host, port, path
        self.done, self.failed, self.refused, self.answers = 0, [], 0, {}
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(number % 2 == 0,))
                        for number in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def ask(self, keep):
        connection = None
        while not self.stopping.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
                connection.request("GET", self.path)
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status != 200:
                    raise OSError(f"status {answer.status}: {text[:100]}")
                if answer.will_close or not keep:
                    connection.close()
                    connection = None
                with self.lock:
                    self.done += 1
                    self.answers[text] = self.answers.get(text, 0) + 1
            except ConnectionRefusedError:
                with self.lock:
                    self.refused += 1
                connection = None
                self.stopping.wait(0.02)
            except (OSError, http.client.HTTPException) as error:
                with self.lock:
                    self.failed.append(f"{time.monotonic():.3f} {error!r}")
                connection.close()
                connection = None
                self.stopping.wait(0.05)

    def count(self):
        with self.lock:
            return self.done, len(self.failed)

    def goes_on(self, requests=50, seconds=60):
        """Wait until so many more have been answered."""
        want, deadline = self.count()[0] + requests, time.monotonic() + seconds
        while self.count()[0] < want:
            assert time.monotonic() < deadline, f"no answers in {seconds} s: {self.failed[-3:]}"
            time.sleep(0.01)

    def lost(self, what, act, at_most=0, closed=False):
        """Do it under load; more than so many requests that fail meanwhile are a failure, and so
        is one that is refused, unless the door may be closed for a moment."""
        before, refused = self.count(), self.refused
        act()
        self.goes_on()
        after, refused = self.count(), self.refused - refused
        lost = self.failed[before[1]:after[1]]
        print(f"# {what}: {after[0] - before[0]} requests, {len(lost)} failed, {refused} refused",
              flush=True)
        assert len(lost) <= at_most, f"{what}: {len(lost)} requests failed: {lost[:5]}"
        assert closed or refused == 0, f"{what}: {refused} connections were refused"
