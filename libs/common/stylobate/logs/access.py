"""Lines of the access log: facts of a request, made into text by the thread that writes."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from stylobate.logs.redaction import is_harmless


class RequestLine(NamedTuple):
    """One request that was answered."""

    at: float
    """When it was, in Unix seconds."""
    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    """It took."""
    subject: str
    client: str
    trace_id: str
    code: str
    """The error's reason; empty where there was none."""

    def facts(self) -> dict[str, Any]:
        """Return what stands in the line beside what stands in each."""
        facts = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "ms": round(self.seconds * 1000, 2),
            "subject": self.subject,
            "client": self.client,
            "trace_id": self.trace_id,
        }
        return facts | {"code": self.code} if self.code else facts

    def as_json(self, origin: str) -> str | None:
        """Return the line as JSON, at a fraction of what an object costs; None where something in it must be made harmless first.

        :param origin: what stands at the end of every line, as JSON behind a comma.
        """
        at, request_id, method, path, status, seconds, subject, client, trace_id, code = self
        if not is_harmless(f"{request_id} {method} {path} {subject} {client} {trace_id} {code}", quotes=True):
            return None
        told = f'"code":"{code}",' if code else ""
        return (
            f'{{"request_id":"{request_id}","method":"{method}","path":"{path}","status":{status},"ms":{seconds * 1000:.2f},'
            f'"subject":"{subject}","client":"{client}","trace_id":"{trace_id}",{told}'
            f'"event":"request","level":"info","logger":"access","timestamp":"{timestamp(at)}"{origin}}}'
        )


def as_origin(origin: dict[str, str]) -> str:
    """Return what stands at the end of every line: a comma and the members, or nothing."""
    return "," + orjson.dumps(origin).decode()[1:-1] if origin else ""


class _Second:
    """The last second that was written; number and text are one, since several threads write."""

    last = (-1, "")


def timestamp(seconds: float) -> str:
    """Return a time in the form of RFC 3339, in UTC."""
    whole = int(seconds)
    number, text = _Second.last
    if whole != number:
        text = datetime.fromtimestamp(whole, UTC).isoformat()[:-6]
        _Second.last = whole, text
    return f"{text}.{int((seconds - whole) * 1_000_000):06d}Z"
