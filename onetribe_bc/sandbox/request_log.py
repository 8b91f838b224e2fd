"""What was asked of a service."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from onetribe_bc.sandbox.messages import Headers, Request


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. `query` is raw; `status` is None when the connection was reset unanswered."""

    method: str
    path: str
    query: str
    status: int | None
    headers: Headers
    at: datetime


class RequestLog:
    """The last `keep` requests to one service, in the order of the answers."""

    def __init__(self, keep: int) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=keep)

    def record(self, request: Request, status: int | None) -> None:
        self._records.append(
            RequestRecord(
                request.method, request.path, request.query, status, request.headers, request.at
            )
        )

    def records(self) -> tuple[RequestRecord, ...]:
        return tuple(self._records.copy())  # one step, hence safe while others append

    def clear(self) -> None:
        self._records.clear()
