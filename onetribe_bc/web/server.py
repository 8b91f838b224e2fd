"""waitress, set up against slow and greedy clients, and ended without losing an answer.

It reads whole requests before they are looked at, so that a client that drips its body keeps
nobody waiting. Its threads are not used: to have one wait for the ledger for each callback costs
more than all the rest. The only module that knows waitress.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]
from waitress.task import ErrorTask, WSGITask  # type: ignore[import-untyped]

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
from onetribe_bc.web.app import BEGUN, TAKE_IN_S, Answer, Later

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 20.0
"""How long a request may take to arrive, from its first byte to its last."""

IDLE_TIMEOUT_S = 75
"""How long a connection may stay open with nothing on it."""

CONNECTIONS = 500
"""How many may be open; further ones wait in the system's queue."""

CROWDED = 0.8
"""By this share of them patience runs out: whoever has asked nothing for `CROWDED_S` has to go."""

CROWDED_S = 2.0

_HEADER_BYTES = 16 * 1024
_BACKLOG = 1024
_LOOK_S = 0.5
_REASONS = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "headers too large",
}
_ANSWERED_INSTEAD = {
    HTTPStatus.NOT_IMPLEMENTED: HTTPStatus.BAD_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Of waitress's own answers these would tell BigCommerce, and strangers, that we failed."""

_ON_CONNECTIONS = "total open connections"
_LAST_WORDS = (
    "HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet. Raises OSError."""
    family, kind, number, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, number)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


class BatchedApplication(Protocol):
    """A WSGI application that waits for nothing unless it is called for all of a request."""

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse, /
    ) -> Iterable[bytes]: ...

    def begin(self, environ: WSGIEnvironment, /) -> Answer | Later: ...

    def finish(self, later: Later, wait_s: float, /) -> Answer: ...

    def refuse(self, status: int, reason: str, /) -> None: ...


class Server:
    """Serves an application on a bound socket, from its making to the end of its `with` block."""

    def __init__(
        self,
        application: BatchedApplication,
        bound: socket.socket,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        take_in_s: float = TAKE_IN_S,
        connections: int = CONNECTIONS,
    ) -> None:
        """A request has `request_timeout_s` to arrive, a callback `take_in_s` to be durable; a
        connection on which nothing whole arrives is closed after `idle_timeout_s`.
        """
        self._forward = _Forward()
        self._sockets: dict[int, Any] = {}
        adjustments = Adjustments(
            ident=None,
            backlog=_BACKLOG,
            connection_limit=connections,
            recv_bytes=16 * 1024,
            max_request_header_size=_HEADER_BYTES,
            max_request_body_size=MAX_CALLBACK_BYTES + 1,  # what is as large as this is refused
            inbuf_overflow=2 * MAX_CALLBACK_BYTES,
            asyncore_use_poll=True,
            log_socket_errors=False,
            # Whether a proxy stands in between is for the application to see.
            clear_untrusted_proxy_headers=False,
        )
        self._dispatcher = _Dispatcher(application, self._wake, take_in_s)
        self._server = _Waitress(
            application,
            map=self._sockets,
            _sock=bound,
            dispatcher=self._dispatcher,
            adj=adjustments,
            sockinfo=(bound.family, bound.type, bound.proto, bound.getsockname()),
            bind_socket=False,
        )
        self._server.patience = _Patience(request_timeout_s, idle_timeout_s, connections)
        self.host, self.port = bound.getsockname()[:2]
        self._ending = False
        self._awake = True
        self._waking = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="bc2ot-web", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def drain(self) -> None:
        """Take no new connections, and end each that there is after its next answer."""
        self._server.draining = True
        self._wake()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending = True
        self._wake()
        self._thread.join()
        self._dispatcher.shutdown()
        with self._waking:
            self._awake = False
        wasyncore.close_all(self._sockets)
        self._forward.close()

    def _wake(self) -> None:
        """Have the thread look at once; from any thread, also when it has ended."""
        with self._waking:
            if self._awake:
                self._server.trigger.pull_trigger()

    def _serve(self) -> None:
        listening = True
        while not (self._ending and self._dispatcher.is_idle):
            wasyncore.loop(timeout=_LOOK_S, use_poll=True, map=self._sockets, count=1)
            self._dispatcher.run()
            self._server.look_around(time.monotonic())
            if listening and self._server.draining:
                listening = False
                self._server.stop_listening()


class _Waiting(NamedTuple):
    """A connection that waits for its answer, and what gives it."""

    channel: _Channel
    answer: Callable[[], Answer]


class _Dispatcher:
    """Waitress's task dispatcher: sees to it that each request is answered in turn.

    All of it is done by the thread that has the sockets, and nothing there waits: callbacks are
    begun, handed to the ledger, and answered when its commit is done, many by one commit. Only
    what takes its time without being in the ledger's queue gets another thread.
    """

    def __init__(
        self, application: BatchedApplication, wake: Callable[[], None], take_in_s: float
    ) -> None:
        self._application = application
        self._take_in_s = take_in_s
        self._wake = wake
        self._ready: deque[_Channel] = deque()
        self._done: deque[Future[Any]] = deque()
        self._waiting: dict[Future[Any], list[_Waiting]] = {}
        self._give_up_at: deque[tuple[float, Future[Any], _Waiting]] = deque()
        self._slow = ThreadPoolExecutor(4, thread_name_prefix="bc2ot-web-slow")

    @property
    def is_idle(self) -> bool:
        """Whether every request that came has its answer."""
        return not (self._ready or any(self._waiting.values()))

    def add_task(self, channel: _Channel) -> None:
        """A connection has a whole request. Its lock may be held: nothing is done yet."""
        self._ready.append(channel)

    def run(self) -> None:
        """Begin with what has come, and answer what can be answered."""
        while self._ready or self._done:
            # An answer may make the next request of its connection ready.
            if self._ready:
                self._begin(self._ready.popleft())
            else:
                self._answer(self._done.popleft())
        while self._give_up_at:
            give_up_at, until, waiting = self._give_up_at[0]
            if until in self._waiting and give_up_at > time.monotonic():
                return
            self._give_up_at.popleft()
            if waiting in self._waiting.get(until, ()):
                self._waiting[until].remove(waiting)
                waiting.channel.finish(waiting.answer())

    def shutdown(self) -> None:
        """End the threads for what takes its time."""
        self._slow.shutdown()

    def _begin(self, channel: _Channel) -> None:
        later, finish = channel.begin(self._application), self._application.finish
        if later is None:
            channel.service()
        elif later.written is None:
            done = self._slow.submit(finish, later, self._take_in_s)
            self._wait(done, _Waiting(channel, done.result))
        else:
            waiting = _Waiting(channel, partial(finish, later, 0))
            self._wait(later.written, waiting)
            give_up_at = time.monotonic() + self._take_in_s
            self._give_up_at.append((give_up_at, later.written, waiting))

    def _wait(self, until: Future[Any], waiting: _Waiting) -> None:
        """Answer once that is done."""
        others = self._waiting.setdefault(until, [])
        others.append(waiting)
        if len(others) == 1:
            until.add_done_callback(self._note)

    def _note(self, done: Future[Any]) -> None:
        self._done.append(done)
        self._wake()

    def _answer(self, done: Future[Any]) -> None:
        for waiting in self._waiting.pop(done, ()):
            waiting.channel.finish(waiting.answer())


class _Task(WSGITask):  # type: ignore[misc]
    environ: WSGIEnvironment | None = None

    def get_environment(self) -> WSGIEnvironment:
        self.environ = self.environ or self.channel.begun
        environ: WSGIEnvironment = super().get_environment()
        return environ

    def build_response_header(self) -> bytes:
        if self.channel.server.draining:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long clients are waited for."""

    request_timeout_s: float
    idle_timeout_s: float
    connections: int

    @property
    def beat_s(self) -> float:
        """How often to look around when there is room."""
        return min(5.0, self.request_timeout_s / 4, self.idle_timeout_s / 4)

    def is_crowded(self, connections: int) -> bool:
        return connections >= CROWDED * self.connections

    def in_a_crowd(self) -> _Patience:
        request_s, idle_s = self.request_timeout_s, self.idle_timeout_s
        return replace(
            self, request_timeout_s=min(request_s, CROWDED_S), idle_timeout_s=min(idle_s, CROWDED_S)
        )


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """What waitress itself refuses gets a status and nothing else, as from the application."""

    def execute(self) -> None:
        status = _status_of(self.request)
        self.status = f"{status.value} {status.phrase}"
        self.set_close_on_finish()
        self.content_length = 0
        self.write(b"")


def _status_of(request: Any) -> HTTPStatus:
    """What a request that is none is answered."""
    status = HTTPStatus(request.error.code)
    return _ANSWERED_INSTEAD.get(status, status)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows since when a request arrives on it, and has the application begin
    with each in its turn.
    """

    task_class = _Task
    error_task_class = _ErrorTask
    began_at = 0.0
    """When the request that is arriving began to."""

    asked_at = 0.0
    """When something whole arrived last, or the connection was made."""

    parting_at = 0.0
    """When it was told to go, if it was."""

    begun: WSGIEnvironment | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.asked_at = time.monotonic()

    def begin(self, application: BatchedApplication) -> Later | None:
        """Have the application begin with the request whose turn it is; None when it can be
        answered at once.
        """
        request = self.requests[0]
        self.begun = None
        self.asked_at = time.monotonic()
        if request.error:
            status = _status_of(request)
            application.refuse(status, _REASONS.get(status, "malformed"))
            return None
        if not self.connected:
            return None
        self.begun = _Task(self, request).get_environment()
        begun = application.begin(self.begun)
        if isinstance(begun, Later):
            return begun
        self.begun[BEGUN] = begun
        return None

    def finish(self, answer: Answer) -> None:
        """Answer what was begun."""
        if self.begun is not None:
            self.begun[BEGUN] = answer
        self.service()

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.began_at = time.monotonic()
        try:
            taken: bool = super().received(data)
        except Exception:  # noqa: BLE001 - what waitress cannot read, not even to refuse it
            self.part(HTTPStatus.BAD_REQUEST, "malformed")
            return False
        return taken

    def look_after(self, now: float, patience: _Patience) -> None:
        """Part from whoever keeps the connection and asks for nothing."""
        if self.will_close or self.close_when_flushed:
            if not self.parting_at:
                self.parting_at = now
            elif now - self.parting_at > CROWDED_S:  # it does not read what it was answered
                self.handle_close()
        elif self.requests:
            self.asked_at = now  # it waits for us
        elif self.request is not None:
            if now - self.began_at > patience.request_timeout_s:
                self.part(HTTPStatus.REQUEST_TIMEOUT, "too slow")
        elif now - self.asked_at > patience.idle_timeout_s:
            self.handle_close()

    def part(self, status: HTTPStatus, reason: str) -> None:
        """Refuse what has arrived of a request, and close when that is told."""
        self.request = None
        self.server.application.refuse(status, reason)
        self.write_soon(_LAST_WORDS.format(status=status).encode())
        self.close_when_flushed = True


class _Waitress(TcpWSGIServer):  # type: ignore[misc]
    channel_class = _Channel
    draining = False
    patience: _Patience
    looked_at = 0.0

    def maintenance(self, now: float) -> None:
        """Nothing: waitress calls it while it puts together which sockets to wait for, and a new
        connection may get the number of one that is closed then.
        """

    def look_around(self, now: float) -> None:
        """Part from those who keep connections for nothing; between two waits for the sockets."""
        channels, patience = list(self.active_channels.values()), self.patience
        crowded = patience.is_crowded(len(channels))
        if now - self.looked_at < (_LOOK_S if crowded else patience.beat_s):
            return
        self.looked_at = now
        if crowded:
            patience = patience.in_a_crowd()
        for channel in channels:
            if channel.connected:
                channel.look_after(now, patience)

    def pull_trigger(self) -> None:
        """Nothing: a connection asks for it when it was served, by the thread that would wake."""

    def stop_listening(self) -> None:
        """Close the socket that listens, and nothing else."""
        wasyncore.dispatcher.close(self)


class _Forward(logging.Handler):
    """Passes waitress's warnings on as ours. Of their words, which may be a stranger's, only those
    on its connections.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger("waitress")
        self._propagated = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith(_ON_CONNECTIONS):
            _log.log(record.levelno, "The web server says: %s.", record.msg)
            return
        place = f"waitress/{record.filename}, line {record.lineno}"
        _log.log(record.levelno, "The web server met with trouble (%s).", place)

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        super().close()
