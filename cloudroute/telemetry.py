"""What a running cloudroute tells about itself: metrics, health, and logs that say only what changed.

The idea: the loops push small facts in, under one lock and without I/O, and three URLs show the present ones.
The metrics of the world are drawn from one immutable snapshot, so a scrape never sees half a cycle and a
route table that is gone takes its series along.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

REQUEST_SECONDS = 5
"""How long a client of the probes may be silent."""
MAX_CONNECTIONS = 16
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _World:
    routes: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    ipam_free: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Beat:
    thread: threading.Thread
    at: float
    within: float


class Vitals:
    """Health of one process, and the URLs that show it with its metrics. Methods may be called from any thread.

    `monotonic` gives seconds that never go back. Metrics are what is put into `registry`.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series per counter that nobody reads
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._beats: dict[str, _Beat] = {}
        self._not_ready = "starting"
        self._server: _Server | None = None
        self.registry = CollectorRegistry()

    # --- health -----------------------------------------------------------------------------------

    def beat(self, thread: str, within_seconds: float) -> None:
        """Tell that the calling thread, known as `thread`, is well and will tell so again `within_seconds`."""
        with self._lock:
            self._beats[thread] = _Beat(threading.current_thread(), self._monotonic(), within_seconds)

    def forget(self, thread: str) -> None:
        """Expect nothing more of `thread`: it has ended as it should."""
        with self._lock:
            self._beats.pop(thread, None)

    def stale(self) -> list[str]:
        """What is wrong with which threads, a sentence each; empty while the process is healthy."""
        now = self._monotonic()
        with self._lock:
            beats = dict(self._beats)
        wrong = []
        for name, beat in sorted(beats.items()):
            if not beat.thread.is_alive():
                wrong.append(f"thread {name} has ended")
            elif now - beat.at > beat.within:
                late = f"{now - beat.at:.0f} s ago, expected within {beat.within:g} s"
                wrong.append(f"thread {name} was last seen {late}")
        return wrong

    def ready(self, ready: bool, why: str = "") -> None:
        """Answer /readyz: `why` says what is missing while it is not ready."""
        self._not_ready = "" if ready else why or "not ready"

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        text = "text/plain; charset=utf-8"
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)
            case "/healthz":
                wrong = self.stale()
                return (503 if wrong else 200), text, ("\n".join(wrong or ["ok"]) + "\n").encode()
            case "/readyz":
                why = self._not_ready
                return (503 if why else 200), text, f"{why or 'ok'}\n".encode()
        return 404, text, b"here are /metrics, /healthz and /readyz\n"

    # --- HTTP -------------------------------------------------------------------------------------

    def serve(self, host: str, port: int) -> int:
        """Listen and answer in a background thread; returns the port (`port` 0: any). Raises OSError.

        `host` "" is all addresses of both families.
        """
        self._server = _Server(self, host.strip("[]"), port)
        threading.Thread(target=self._server.serve_forever, args=(1.0,), name="telemetry", daemon=True).start()
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Telemetry(Vitals, Collector):
    """Those of the controller, with its metrics. No method blocks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(monotonic)
        self._world = _World()
        self._ec2_requests = Counter(
            "cloudroute_ec2_requests",
            "Attempts to call EC2 or Service Quotas, by action and AWS's code; OK is success.",
            ["action", "code"],
            registry=self.registry,
        )
        self._ec2_seconds = Histogram(
            "cloudroute_ec2_request_seconds", "Duration of these attempts.", ["action"], registry=self.registry
        )
        self._leader = Gauge("cloudroute_leader", "1 while this process holds the lease.", registry=self.registry)
        self._reconcile = Histogram(
            "cloudroute_reconcile_seconds", "Duration of a cycle, from snapshot to publish.", registry=self.registry
        )
        self.registry.register(self)

    # --- metrics ----------------------------------------------------------------------------------

    def ec2_request(self, action: str, code: str, seconds: float) -> None:
        """Count one attempt of an AWS call; `code` is "OK" or AWS's error code."""
        self._ec2_requests.labels(action, code).inc()
        self._ec2_seconds.labels(action).observe(seconds)

    def leader(self, leads: bool) -> None:
        """Say whether this process holds the lease."""
        self._leader.set(leads)

    def reconcile(self, seconds: float) -> None:
        """Count one cycle of the loop."""
        self._reconcile.observe(seconds)

    def world(
        self,
        routes: Mapping[tuple[str, str, str], int],
        limits: Mapping[tuple[str, str], int],
        nodes: Mapping[str, int],
        ipam_free: Mapping[str, int],
    ) -> None:
        """Replace what is known of the world.

        Keys: `routes` (table, family, state ours|foreign|blackhole), `limits` (table, family), `nodes` path,
        `ipam_free` cluster CIDR.
        """
        self._world = _World(dict(routes), dict(limits), dict(nodes), dict(ipam_free))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Draw the series of the world (prometheus_client's Collector)."""
        world = self._world
        yield _family("routes", "Entries of a route table.", ("table", "family", "state"), world.routes)
        yield _family("route_limit", "Entries a route table may have.", ("table", "family"), world.limits)
        yield _family("nodes", "Nodes by path.", ("path",), {(path,): n for path, n in world.nodes.items()})
        free = {(cidr,): n for cidr, n in world.ipam_free.items()}
        yield _family("ipam_free", "Pod CIDRs left in a cluster CIDR.", ("cidr",), free)


def _family(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"cloudroute_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


class _Server(ThreadingHTTPServer):
    """One thread a connection, of which there are few: a new one beyond that ends the oldest.

    So a client that sends nothing, or a byte now and then, can't keep the kubelet's probes out.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, telemetry: Vitals, host: str, port: int) -> None:
        self.telemetry = telemetry
        self._open: deque[Any] = deque()
        self._open_lock = threading.Lock()
        both = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler, bind_and_activate=False)
        try:
            if both:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.server_bind()
            self.server_activate()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up, which can hang where DNS does.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _hang_up(self._open.popleft())
            self._open.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            if request in self._open:
                self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the client has gone, or was hung up on."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was faster


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        status, content_type, body = self.server.telemetry.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Say nothing: a probe is no event."""


# --- logs -----------------------------------------------------------------------------------------


def setup_logging(format: Literal["text", "json"], level: str) -> None:  # noqa: A002 (the flag's name)
    """Log to stderr, one line an event, times in UTC; `level` is debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str) if format == "json" else _text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(handlers=[_Forward()], level=max(number, logging.WARNING), force=True)


class _Forward(logging.Handler):
    """What libraries say, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name)


_logfmt = structlog.processors.LogfmtRenderer()


def _text(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    """Time, level, what happened, then key=value: for people, and still one line."""
    head = f"{event.pop('timestamp')} {event.pop('level'):<7} {' '.join(str(event.pop('event')).split())}"
    return f"{head} {_logfmt(logger, name, event)}".rstrip()


class ChangeLog:
    """Says only what changed: the same words under the same key are logged once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: OrderedDict[Hashable, tuple[str, dict[str, Any]]] = OrderedDict()

    def say(self, key: Hashable, event: str, *, warning: bool = False, **fields: Any) -> bool:
        """Log `event` with `fields` unless that was the last thing said under `key`; whether it was logged."""
        words = (event, fields)
        with self._lock:
            if self._said.get(key) == words:
                return False
            self._said[key] = words
            self._said.move_to_end(key)
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        structlog.get_logger().log(logging.WARNING if warning else logging.INFO, event, **fields)
        return True

    def forget(self, key: Hashable) -> bool:
        """Let the next words under `key` be logged whatever they are; whether there were any."""
        with self._lock:
            return self._said.pop(key, None) is not None
