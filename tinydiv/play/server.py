"""The server behind the page: from the standard library, for this machine only.

    GET  /TOKEN/          the page; a query string holds a set-up
    POST /TOKEN/api       {"do": "start", ...} and so on; the reply is JSON

The token is drawn anew each time, so that no other page can guess the address. Requests that name another
host, or come from another origin, are refused. The reply to a wrong value is one sentence. Each page has
its own pair of networks, which a thread trains; drawing shows their present state and does not wait for
training.
"""

import json
import secrets
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinydiv import activations, optimizers
from tinydiv.errors import RunError, UsageError
from tinydiv.initializers import BASES, SCHEMES
from tinydiv.play.networks import DATA, Pair, read_setup
from tinydiv.settings import rounded
from tinydiv.techniques import TECHNIQUES, Penalty

PAGE = Path(__file__).parent / "page.html"
MOST_BYTES = 65_536
"""The longest request that is read."""
MOST_PAGES = 8
IDLE_SECONDS = 300
"""After this many seconds without a request a page is closed."""
TICK, REST = 0.008, 0.004
"""How many seconds the training thread works before it pauses, so that drawing can run."""


class Session:
    """One page: its pair of networks and the thread that trains them."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.running = False
        self.speed = 0.0
        """Steps a second; 0 for as many as possible."""
        self.failed = ""
        self.last_request = time.monotonic()
        self.closed = threading.Event()
        threading.Thread(target=self.train, daemon=True).start()

    def train(self) -> None:
        """Train while `running` is true."""
        while not self.closed.is_set():
            if not self.running:
                self.closed.wait(TICK)
                continue
            try:
                began = time.monotonic()
                self.pair.advance()
                while not self.speed and time.monotonic() - began < TICK:
                    self.pair.advance()
            except Exception as error:  # shown in the page, which stays open
                self.running, self.failed = False, f"training stopped: {error}"
            spare = 1 / self.speed - (time.monotonic() - began) if self.speed else REST
            self.closed.wait(max(spare, REST))


class Server(ThreadingHTTPServer):
    """All pages of one command. data: the set that a page begins with."""

    daemon_threads = True

    def __init__(self, port: int = 0, data: str | None = None) -> None:
        self.data = data
        self.token = secrets.token_urlsafe(16)
        self.sessions: dict[str, Session] = {}
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def begin(self, values: dict[str, Any]) -> dict[str, Any]:
        """A new session for a page. Raises UsageError for a wrong set-up."""
        pair = Pair(read_setup(values, self.data))
        with self.lock:
            for key, one in list(self.sessions.items()):
                if time.monotonic() - one.last_request > IDLE_SECONDS:
                    self.end(key)
            if len(self.sessions) >= MOST_PAGES:
                raise UsageError(f"{MOST_PAGES} pages are open: close one first")
            key = secrets.token_urlsafe(8)
            self.sessions[key] = Session(pair)
        return {"session": key, "names": names(), **pair.facts()}

    def end(self, key: str) -> None:
        """Stop the training of a page that was closed."""
        session = self.sessions.pop(key, None)
        if session is not None:
            session.closed.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a browser that closes its connection in the middle of a request."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def server_close(self) -> None:
        """Stop all training, and close."""
        for key in list(self.sessions):
            self.end(key)
        super().server_close()


def names() -> dict[str, Any]:
    """What the page's lists offer."""
    return {
        "data": DATA,
        "activation": list(activations.ACTIVATIONS),
        "optimizer": list(optimizers.OPTIMIZERS),
        "init": [*SCHEMES, *BASES],
        "technique": {
            name: getattr(cls, "default_strength", None) if issubclass(cls, Penalty) else None
            for name, cls in TECHNIQUES.items()
        },
    }


def respond(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request of a page. Raises UsageError for an unknown or wrong request."""
    do = request.get("do")
    if do == "start":
        return server.begin(table(request, "setup"))
    session = server.sessions.get(str(request.get("session")))
    if session is None:
        raise UsageError("this page was closed: load it again")
    session.last_request = time.monotonic()
    pair = session.pair
    if do == "run":
        session.running, session.failed = bool(request.get("running")), ""
        session.speed = number(request, "speed", 0)
    elif do == "step":
        session.running = False
        pair.advance(int(number(request, "steps", 1, low=1, high=1000)))
    elif do == "change":
        again = pair.change(read_setup(table(request, "setup")))
        return {"again": again, **pair.facts()}
    elif do == "view":
        found = pair.view(str(request.get("kind", "responses")))
        return {"running": session.running, "failed": session.failed, **found}
    elif do in ("gradient", "remove", "scale"):
        side, neuron = str(request.get("side")), int(number(request, "neuron", -1, low=-1))
        if do == "gradient":
            return pair.gradient(side, neuron)
        if do == "remove":
            return dict(pair.remove(side, neuron))
        pair.scale(side, neuron, number(request, "factor", 1, low=-1e9))
    elif do == "close":
        server.end(str(request.get("session")))
    else:
        raise UsageError(f"there is no action called {str(do)[:40]!r}")
    return {}


def table(request: dict[str, Any], key: str) -> dict[str, Any]:
    """A table in a request."""
    found = request.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"{key} should be a table of names and values")
    return found


def number(
    request: dict[str, Any], key: str, default: float, low: float = 0, high: float = 1e9
) -> float:
    """A number in a request."""
    value = request.get(key, default)
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not low <= value <= high:
        raise UsageError(f"{key} should be a number from {rounded(low, 6)} to {rounded(high, 6)}")
    return float(value)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = "tinydiv", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page."""
        if not self.from_this_page():
            return
        if urlsplit(self.path).path != f"/{self.server.token}/":
            self.reply(
                HTTPStatus.NOT_FOUND, b"the page is at the address that tinydiv.play printed"
            )
            return
        self.reply(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """The page's requests."""
        if not self.from_this_page():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != f"/{self.server.token}/api" or not length.isdecimal():
            self.reply(HTTPStatus.NOT_FOUND, b"there is nothing here")
            return
        if int(length) > MOST_BYTES:
            self.reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"that request is too long")
            return
        status, result = HTTPStatus.OK, {}
        try:
            request = json.loads(self.rfile.read(int(length)))
            if not isinstance(request, dict):
                raise UsageError("a request is a table")
            result = respond(self.server, request)
        except (UsageError, RunError) as error:
            status, result = HTTPStatus.BAD_REQUEST, {"error": " ".join(str(error).split())}
        except (ValueError, RecursionError):
            status, result = HTTPStatus.BAD_REQUEST, {"error": "that request is not JSON"}
        except Exception as error:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            result = {
                "error": f"an error in tinydiv, please report it: {type(error).__name__}: {error}"
            }
        self.reply(status, json.dumps(result).encode(), "application/json")

    def from_this_page(self) -> bool:
        """Whether the request comes from the page itself; others are refused."""
        here = f"127.0.0.1:{self.server.server_address[1]}"
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        right = self.headers.get("Host") == here and origin in (None, f"http://{here}")
        if right and site in ("none", "same-origin"):
            return True
        self.close_connection = True
        self.reply(
            HTTPStatus.FORBIDDEN, b"only the page that tinydiv.play opened may send requests"
        )
        return False

    def reply(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        """Send one reply; a closed connection is ignored."""
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header(
                "Content-Security-Policy",
                "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
                "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'",
            )
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows only the command's output."""
