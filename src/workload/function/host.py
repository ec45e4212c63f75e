"""Run a Python function: an HTTP/1.1 server on $PORT that calls handler(event, context).

docs/functions-languages.md has the contract. Nothing but the standard library is used, and of it
only what starts quickly: email and http take longer than many a function.
"""
import os
import sys
import time

BEGUN = time.monotonic()

import json  # noqa: E402  the clock above comes first
import signal  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402

HEAD_MAX = 65536  # of a request: its line and headers
BODY_MAX = 64 << 20
HEADERS_MAX = 256
QUIET_S = 75  # a connection is kept so long without a request
GRACE_S = 2  # a handler that went on past its deadline so long ends the instance,
ALONE_S = 0.1  # where no other call is under way
TOKEN = (b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
         b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
CONTROL = bytes(range(0x21)) + b"\x7f"
WAITS = "/synor/scratch/.snapshot-waits"  # made by who waits to be saved, or says why not to
OWN_RANDOM = {"cryptography.hazmat.bindings._rust": "cryptography", "grpc._cython.cygrpc": "grpc"}
RESUME = "/synor/scratch/.snapshot-resume"  # the word for who was restored
REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
           302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
           308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large",
           422: "Unprocessable Content", 429: "Too Many Requests",
           431: "Request Header Fields Too Large", 500: "Internal Server Error",
           501: "Not Implemented", 503: "Service Unavailable", 505: "HTTP Version Not Supported"}


class Refused(Exception):
    """A request that is not answered by the handler: its status, and why."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class FunctionTimeout(BaseException):
    """Raised within a handler that goes on past its deadline."""


class Broken(Exception):
    """A stream failed; its cause says how."""


class Stop(BaseException):
    """SIGTERM: raised where connections are waited for."""


def say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def traceback_text(error):
    """The stack of the error as it concerns the function: without this program's own frames."""
    import traceback
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    return "".join(traceback.format_exception(type(error), error, at)).rstrip()


# --- the function ---------------------------------------------------------------------------------

def fail(text):
    """What is wrong with the function itself: its version is of no use."""
    say(text)
    os._exit(1)


def load_file(name, path):
    """The file as a module of this name."""
    from importlib import machinery, util
    loader = machinery.SourceFileLoader(name, path)
    module = util.module_from_spec(util.spec_from_file_location(name, path, loader=loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def load(name, code, layer):
    """The handler that `name`, "module.function", stands for."""
    import importlib
    module, dot, function = name.rpartition(".")
    if not dot or not module or not function:
        fail(f'handler: "{name}": expected MODULE.FUNCTION, such as main.handler')
    alone = os.path.isfile(code)  # the code may be one file, whatever that was called
    # This program's own folder goes; the function's code comes first, and it starts there.
    sys.path[:1] = [folder for folder in ("" if alone else code, layer) if folder]
    try:
        if not alone:
            os.chdir(code)
    except OSError as error:
        fail(f"the code: {error}")
    try:
        loaded = load_file(module, code) if alone else importlib.import_module(
            module.replace("/", "."))
    except ModuleNotFoundError as error:
        if error.name and module.replace("/", ".").startswith(error.name):
            have = ", ".join(sorted(os.listdir(code))[:20]) if os.path.isdir(code) else "nothing"
            fail(f'handler: "{name}": the code has no {module.replace(".", "/")}.py; it has: {have}')
        fail(f"{traceback_text(error)}\n"
             f"hint: name {error.name} in requirements.txt and deploy it with --dependencies")
    except BaseException as error:  # also SystemExit: whatever it is, there is no function
        fail(f"loading {module}:\n{traceback_text(error)}")
    handler = getattr(loaded, function, None)
    if not callable(handler):
        have = ", ".join(sorted(key for key, value in vars(loaded).items()
                                if callable(value) and not key.startswith("_"))[:20])
        fail(f'handler: "{name}": {module} has no function {function}; it has: {have or "none"}')
    return handler


class Context:
    """What is known of a call besides its event."""
    __slots__ = ("request_id", "deadline_ms", "function", "version", "trigger", "invocation",
                 "memory_bytes", "body")

    def __init__(self, headers, body):
        self.request_id = headers.get("x-request-id", "")
        self.invocation = headers.get("x-synor-invocation", "")
        self.deadline_ms = number(headers.get("x-synor-deadline"))
        self.function = headers.get("x-synor-function") or os.environ.get("SYNOR_FUNCTION", "")
        self.version = number(headers.get("x-synor-version") or os.environ.get("SYNOR_VERSION"))
        self.trigger = headers.get("x-synor-trigger", "http")
        self.memory_bytes = number(os.environ.get("SYNOR_MEMORY_BYTES"))
        self.body = body

    def remaining_ms(self):
        """Milliseconds until the deadline, at least 0; None: there is none."""
        if not self.deadline_ms:
            return None
        return max(0, self.deadline_ms - time.time_ns() // 1000000)


def is_token(name):
    return name != b"" and not name.translate(None, TOKEN)


def number(text):
    return int(text) if text and text.isascii() and text.isdigit() else 0


def unquote(text):
    if "%" not in text and "+" not in text:
        return text
    from urllib.parse import unquote_plus
    return unquote_plus(text)


def query_of(text):
    """{name: value}; the values of a name that comes more than once are joined by commas."""
    query = {}
    for part in text.split("&") if text else ():
        if part:
            name, _, value = part.partition("=")
            name, value = unquote(name), unquote(value)
            query[name] = f"{query[name]},{value}" if name in query else value
    return query


def event_of(method, target, headers, body, trigger):
    text = None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        pass
    if trigger != "http":
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text
        except TypeError:
            return body
    path, _, query = target.partition("?")
    event = {"method": method, "path": path, "query": query_of(query), "raw_query": query,
             "headers": headers, "body": text, "body_base64": None}
    if text is None:
        import base64
        event["body_base64"] = base64.b64encode(body).decode()
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if text and (kind == "application/json" or kind.endswith("+json")):
        try:
            event["json"] = json.loads(text)
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from None
    return event


# --- answers --------------------------------------------------------------------------------------

def is_status(value):
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599


def dumps(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def as_bytes(piece):
    """A piece of a stream, and what kind of content it is."""
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece), "application/octet-stream"
    if isinstance(piece, str):
        return piece.encode(), "text/plain; charset=utf-8"
    return dumps(piece) + b"\n", "application/x-ndjson"


def futures_timeout():
    """What a future raises; before Python 3.11 it is none of the built-in ones."""
    import concurrent.futures
    return concurrent.futures.TimeoutError


def is_stream(value):
    return hasattr(value, "__next__") or hasattr(value, "__anext__")


def answer_of(result):
    """(status, [(name, value)], bytes or an iterator) of what a handler gave back."""
    status, headers, body = 200, [], result
    if isinstance(result, dict):
        given = result.get("status", result.get("statusCode"))
        if is_status(given):
            status, body = given, result.get("body", b"")
            for name, value in (result.get("headers") or {}).items():
                for each in value if isinstance(value, (list, tuple)) else (value,):
                    headers.append((str(name), str(each)))
            encoded = result.get("body_base64")
            if encoded is None and result.get("isBase64Encoded") is True:
                encoded = body
            if encoded is not None:
                import base64
                body = base64.b64decode(encoded)
            elif body is None:
                body = b""
    kind = None
    if not is_stream(body):
        if isinstance(body, (str, bytes, bytearray, memoryview)):
            body, kind = as_bytes(body)
        else:
            body, kind = dumps(body), "application/json"
    if kind and (body or status == 200) and all(n.lower() != "content-type" for n, _ in headers):
        headers.append(("content-type", kind))
    return status, headers, body


def head_of(status, headers, more):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    for name, value in headers:
        plain = name.lower()
        if plain in ("content-length", "transfer-encoding", "connection", "keep-alive"):
            continue
        if not is_token(name.encode()):
            raise ValueError(f"{name!r} is no name of a header")
        if any(c in value for c in "\r\n\0"):
            raise ValueError(f"the header {name} has a line break")
        lines.append(f"{name}: {value}")
    lines.extend(more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


# --- connections ----------------------------------------------------------------------------------

class Reader:
    """Requests of one connection, one after the other."""

    def __init__(self, link):
        self.link, self.held = link, b""

    def more(self):
        piece = self.link.recv(65536)
        self.held += piece
        return bool(piece)

    def head(self):
        """(method, target, headers, keep), or None at the end of the connection."""
        self.held = self.held.lstrip(b"\r\n") if self.held[:1] in b"\r\n" else self.held
        while True:
            end = self.held.find(b"\r\n\r\n")
            if end > HEAD_MAX or (end < 0 and len(self.held) > HEAD_MAX):
                raise Refused(431, f"the headers are more than {HEAD_MAX} bytes")
            if end >= 0:
                break
            if not self.more():
                return None
        lines = self.held[:end].split(b"\r\n")
        self.held = self.held[end + 4:]
        return parse(lines)

    def body(self, size):
        while len(self.held) < size:
            if size - len(self.held) > 65536:
                return self.long_body(size)
            if not self.more():
                return None
        body, self.held = self.held[:size], self.held[size:]
        return body

    def long_body(self, size):
        body = bytearray(size)
        at = len(self.held)
        body[:at] = self.held
        self.held = b""
        view = memoryview(body)
        while at < size:
            got = self.link.recv_into(view[at:])
            if not got:
                return None
            at += got
        return bytes(body)


def parse(lines):
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[1] or not words[2].startswith(b"HTTP/"):
        raise Refused(400, "expected METHOD TARGET HTTP/1.1")
    if words[2] != b"HTTP/1.1":
        raise Refused(505, "expected HTTP/1.1")
    if not is_token(words[0]) or len(words[1].translate(None, CONTROL)) != len(words[1]):
        raise Refused(400, "the request line has bytes that do not belong there")
    if len(lines) > HEADERS_MAX:
        raise Refused(431, f"more than {HEADERS_MAX} headers")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name):
            raise Refused(400, "a header has no name, or blanks before its colon")
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise Refused(400, "a header has a line break within")
        key, text = name.decode().lower(), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in ("content-length", "host", "transfer-encoding"):
                raise Refused(400, f"{key} comes twice")
            headers[key] += ("; " if key == "cookie" else ", ") + text
        else:
            headers[key] = text
    if "transfer-encoding" in headers:
        raise Refused(501, "transfer-encoding: bodies come with content-length")
    keep = "close" not in headers.get("connection", "").lower()
    return words[0].decode(), words[1].decode("latin-1"), headers, keep


def size_of(headers):
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(400, "content-length is no number")
    if int(text) > BODY_MAX:
        raise Refused(413, f"the body is more than {BODY_MAX} bytes")
    return int(text)


class Host:
    def __init__(self, handler, concurrency):
        self.handler = handler
        self.turns = threading.BoundedSemaphore(concurrency)
        self.lock = threading.Lock()
        self.calls = {}  # running: thread -> (deadline in ms, request id)
        self.links = {}  # open: socket -> whether a request is under way
        self.loop = None  # of coroutines, begun with the first
        self.cold = None  # told with the first answer
        self.stopping = False
        self.watched = threading.Event()
        self.watching = False

    # --- calls

    def run_async(self, coroutine, context):
        """The result of a coroutine. All of them share one loop, as their clients expect."""
        import asyncio
        with self.lock:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                threading.Thread(target=self.loop.run_forever, daemon=True, name="loop").start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        left = context.remaining_ms()
        try:
            return future.result(None if left is None else left / 1000)
        except (asyncio.TimeoutError, futures_timeout()):
            if future.done():
                raise
        future.cancel()
        heard = threading.Event()
        self.loop.call_soon_threadsafe(heard.set)
        if not heard.wait(GRACE_S):
            self.give_up(context.request_id)
        raise FunctionTimeout("the deadline has passed")

    @staticmethod
    def give_up(request):
        say(f"request {request}: the handler goes on past its deadline; the instance ends")
        os._exit(124)

    def steps(self, stream, context):
        """The pieces of a stream, whether its generator is a coroutine or not."""
        if hasattr(stream, "__next__"):
            yield from stream
            return

        async def step():
            return await stream.__anext__()
        while True:
            try:
                yield self.run_async(step(), context)
            except StopAsyncIteration:
                return

    def call(self, method, target, headers, context):
        event = event_of(method, target, headers, context.body, context.trigger)
        result = self.handler(event, context)
        if hasattr(result, "__await__"):
            result = self.run_async(result, context)
        status, named, content = answer_of(result)
        if not is_stream(content):
            return status, named, content
        # The first piece says what kind of content it is, and errors before it are errors.
        pieces = self.steps(content, context)
        first, kind = as_bytes(next(pieces, b""))
        if all(name.lower() != "content-type" for name, _ in named):
            named.append(("content-type", kind))
        return status, named, (first, pieces)

    def begin(self, context):
        if not context.deadline_ms:
            return
        with self.lock:
            self.calls[threading.get_ident()] = (context.deadline_ms, context.request_id)
            if not self.watching:
                self.watching = True
                threading.Thread(target=self.watch, daemon=True, name="deadlines").start()
        self.watched.set()

    def end(self):
        with self.lock:
            self.calls.pop(threading.get_ident(), None)

    def watch(self):
        """End what goes on past its deadline: its caller has been told so already. Python's own
        code is stopped by an exception; what does not hear it ends with the instance."""
        told = {}
        while True:
            with self.lock:
                calls = dict(self.calls)
            if not calls:
                told.clear()
                self.watched.clear()
                self.watched.wait()
                continue
            now = time.time_ns() // 1000000
            for thread, (deadline, request) in calls.items():
                if now < deadline:
                    continue
                if told.get(thread) != request:
                    told[thread] = request
                    self.interrupt(thread, request)
                elif now > deadline + (GRACE_S if len(calls) > 1 else ALONE_S) * 1000:
                    self.give_up(request)
            due = min(deadline for deadline, _ in calls.values())
            time.sleep(min(max((due - now) / 1000, 0.02), 0.1))

    @staticmethod
    def interrupt(thread, request):
        import ctypes
        import traceback
        frame = sys._current_frames().get(thread)
        stack = "".join(traceback.format_stack(frame)[-8:]).rstrip() if frame else ""
        say(f"request {request}: the deadline has passed; the handler is at\n{stack}")
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread),
                                                   ctypes.py_object(FunctionTimeout))

    # --- answers

    def answer(self, link, method, result, keep):
        """Send it. False: the connection is of no further use."""
        status, headers, content = result
        more = [] if keep else ["connection: close"]
        if self.cold:
            more.append(f"x-synor-cold: {self.cold}")
        if isinstance(content, tuple):
            return self.stream(link, method, status, head_of(
                status, headers, more + ["transfer-encoding: chunked"]), content, keep)
        if status not in (204, 304):
            more.append(f"content-length: {len(content)}")
        head = head_of(status, headers, more)
        self.cold = None
        if method == "HEAD" or status in (204, 304):
            link.sendall(head)
        elif len(content) < 65536:
            link.sendall(head + content)
        else:
            link.sendall(head)
            link.sendall(content)
        return keep

    def stream(self, link, method, status, head, content, keep):
        first, pieces = content
        self.cold = None
        try:
            if method == "HEAD" or status in (204, 304):
                link.sendall(head.replace(b"transfer-encoding: chunked\r\n", b""))
                return False
            if first:
                head += b"%x\r\n%b\r\n" % (len(first), first)
            link.sendall(head)
            for piece in self.careful(pieces):
                if piece:
                    link.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            link.sendall(b"0\r\n\r\n")
            return keep
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    @staticmethod
    def careful(pieces):
        """The pieces as bytes. What goes wrong in making them is no fault of the connection."""
        while True:
            try:
                piece = next(pieces)
            except StopIteration:
                return
            except OSError as error:
                raise Broken from error
            yield as_bytes(piece)[0]

    def refuse(self, link, status, message, error=None, keep=False):
        headers = [("content-type", "application/json")]
        if error:
            headers.append(("x-synor-error", error))
        body = dumps({"error": {"type": error or "Refused", "message": message}})
        return self.answer(link, "GET", (status, headers, body), keep)

    def invoke(self, link, method, target, headers, body, keep):
        context = Context(headers, body)
        with self.turns:
            self.begin(context)
            try:
                return self.invoke_now(link, method, target, headers, context, keep)
            finally:
                self.end()

    def invoke_now(self, link, method, target, headers, context, keep):
        try:
            result = self.call(method, target, headers, context)
            head_of(result[0], result[1], [])  # names a bad header while it can be told
        except Refused as error:
            return self.refuse(link, error.status, str(error), keep=keep)
        except (Exception, FunctionTimeout, SystemExit) as error:
            say(f"request {context.request_id}: {traceback_text(error)}")
            return self.refuse(link, 500, str(error), type(error).__name__, keep)
        try:
            return self.answer(link, method, result, keep)
        except OSError:
            raise  # the client is away
        except (Exception, FunctionTimeout) as error:
            say(f"request {context.request_id}: in the middle of its answer: "
                f"{traceback_text(error.__cause__ if isinstance(error, Broken) else error)}")
            return False

    def one(self, link, reader):
        """One request. False: the connection ends."""
        try:
            head = reader.head()
            if head is None:
                return False
            method, target, headers, keep = head
            size = size_of(headers)
        except Refused as error:
            self.refuse(link, error.status, str(error))
            return False
        with self.lock:
            self.links[link] = True
        if size and headers.get("expect", "").lower() == "100-continue":
            link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = reader.body(size)
        if body is None:
            return False
        keep = keep and not self.stopping
        if target.partition("?")[0] == "/_synor/health":
            link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
            return keep
        return self.invoke(link, method, target, headers, body, keep)

    def serve(self, link):
        try:
            if link.family != socket.AF_UNIX:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.settimeout(QUIET_S)
            reader = Reader(link)
            while self.one(link, reader):
                with self.lock:
                    if self.stopping:
                        break
                    self.links[link] = False
        except OSError:
            pass  # the other side went away, or was silent for long
        finally:
            with self.lock:
                self.links.pop(link, None)
            link.close()

    # --- life

    def warm(self):
        """A request of our own, before any other may come: what is slow the first time has a core
        now, and may have a fraction of one then."""
        ours, theirs = socket.socketpair()
        handler, self.handler = self.handler, lambda event, context: {"got": event["json"]}
        with ours:
            ours.sendall(b"POST / HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n"
                         b"content-length: 2\r\nconnection: close\r\n\r\n{}")
            self.serve(theirs)
        self.handler = handler

    def listen(self, door):
        try:
            while True:
                link, _ = door.accept()
                with self.lock:
                    self.links[link] = False
                threading.Thread(target=self.serve, args=(link,), daemon=True).start()
        except Stop:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        door.close()
        self.finish()

    def finish(self):
        """Let what is under way end; connections without a request are closed."""
        with self.lock:
            self.stopping = True
            for link, busy in self.links.items():
                if not busy:
                    try:
                        link.shutdown(socket.SHUT_RD)
                    except OSError:
                        pass
        while True:
            with self.lock:
                if not self.links:
                    return
            time.sleep(0.005)


def say_ready(door):
    """Where it listens, for whoever started it with port 0."""
    if os.environ.get("PORT") == "0":
        say(f"listens on port {door.getsockname()[1]}")


def create_us():
    """How long the interpreter took to come here."""
    try:
        with open("/proc/self/stat", "rb", 0) as file:
            started = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0, int((time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1e6))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def stop(_number, _frame):
    raise Stop


def open_door():
    port = os.environ.get("PORT", "")
    if not port.isdigit() or int(port) > 65535:
        fail(f'PORT: "{port}": expected 0 to 65535')
    try:
        door = socket.create_server((os.environ.get("SYNOR_ADDRESS") or "0.0.0.0", int(port)),
                                    backlog=1024)
    except OSError as error:
        fail(f"listening on port {port}: {error}")
    say_ready(door)
    return door


def crypto_libraries():
    """OpenSSL's, as they are mapped here: the system's, and copies that packages bring along."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file if "/libcrypto" in line}
    if not paths:
        return []
    import ctypes  # before it is saved: it takes its time
    return [ctypes.CDLL(path) for path in sorted(paths)]


def renew_random(libraries):
    """What was saved goes on in several instances, which must not draw the same numbers. What asks
    the kernel (os.urandom, secrets, uuid4) draws others anyway."""
    for library in libraries:
        from ctypes import c_double
        library.RAND_add(os.urandom(64), 64, c_double(64.0))
    for name, renew in (("random", lambda module: module.seed()),
                        ("numpy.random", lambda module: module.seed()),
                        ("ssl", lambda module: module.RAND_add(os.urandom(64), 64.0)),
                        ("tempfile", lambda module: setattr(module, "_name_sequence", None)),
                        ("uuid", lambda module: setattr(module, "_last_timestamp", None))):
        module = sys.modules.get(name)
        if module is not None:
            renew(module)


def wait_to_be_restored():
    """Be saved as what is loaded now, and go on as one of the instances that this is restored as,
    with an environment of its own."""
    own = sorted(OWN_RANDOM[name] for name in OWN_RANDOM if name in sys.modules)
    libraries = crypto_libraries()
    with open(WAITS + ".part", "w", encoding="utf-8") as file:
        if own:
            file.write(f"{', '.join(own)} draws random numbers in a way that cannot be renewed")
    os.rename(WAITS + ".part", WAITS)
    while not os.path.exists(RESUME):
        time.sleep(0.002)
    with open(RESUME, "rb") as file:
        word = json.load(file)
    os.unlink(RESUME)
    os.environ.update(word["env"])
    renew_random(libraries)


def wait_for_owner():
    """Started for nobody yet: the word says whose this is, and has the environment. Input that ends
    without one is the end."""
    import importlib  # as load() does; nothing else, which a function might have one of its own of
    Host(None, 1).warm()
    with open(WAITS + ".part", "w", encoding="utf-8"):
        pass
    os.rename(WAITS + ".part", WAITS)
    while os.read(0, 64):
        pass
    try:
        with open(RESUME, "rb") as file:
            word = json.load(file)
    except FileNotFoundError:
        os._exit(0)
    os.unlink(RESUME)
    os.unlink(WAITS)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.update(word["env"])


def main(begun=BEGUN, door=None):
    """`door`: a socket that listens already; it is given where there is no network."""
    created = create_us()
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    waited = bool(os.environ.pop("SYNOR_WAITS", ""))
    if waited:
        wait_for_owner()
        created, begun = 0, time.monotonic()
    code = os.environ.get("SYNOR_CODE") or "/synor/code"
    handler = load(os.environ.get("SYNOR_HANDLER", ""), code, os.environ.get("SYNOR_LAYER", ""))
    host = Host(handler, max(1, number(os.environ.get("SYNOR_CONCURRENCY"))))
    if door is None and not waited:
        host.warm()
    if os.environ.pop("SYNOR_SNAPSHOT", ""):
        wait_to_be_restored()
        created, begun = 0, time.monotonic()
    host.cold = f"create={created};initialise={int((time.monotonic() - begun) * 1e6)}"
    signal.signal(signal.SIGTERM, stop)
    try:
        host.listen(door or open_door())
    except Stop:
        pass  # before it listened
    sys.stdout.flush()


if __name__ == "__main__":
    # What the function imports as __main__ would be this program: it is loaded under another name.
    main()
