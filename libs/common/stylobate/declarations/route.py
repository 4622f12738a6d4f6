"""Routes that actions declare: ``POST /orders``, ``GET /orders/{order_id}``.

Of two routes that one request fits, the one with a name where the other has a parameter wins, wherever they differ. Where each
has a name of its own before the other, or none has, nobody could tell which was meant: then they are in conflict.
"""

import re
from dataclasses import dataclass
from typing import Self

from stylobate.services import served_prefixes

_ROUTE = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*)")
_PARAMETER = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[\w.~!$&'()+,;=:@-]+")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BODILESS = frozenset({"GET", "DELETE"})
"""Their input stands in the path and the query: what a body would mean is not defined (RFC 9110 §9.3.1, §9.3.5)."""
_RESERVED = (
    "/v1", "/oauth2", "/.well-known", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/connection",
    "/emulation", "/problems", "/static-offline-docs", "/api", "/asyncapi.json", "/graphql", "/mcp", "/console",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path whose segments are names or parameters."""

    method: str
    path: str
    """As declared: ``/orders/{order_id}/pay``."""
    segments: tuple[str, ...]
    """What stands between the slashes; empty text for a parameter."""
    parameters: tuple[tuple[int, str], ...]
    """Place among the segments and name of each parameter, from left to right."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the route. Raises ValueError with a sentence for the author of the declaration."""
        match = _ROUTE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a route; write `POST /orders`")
        method, path = match["method"], match["path"]
        if method not in METHODS:
            raise ValueError(f"{method!r} is not one of {', '.join(METHODS)}")
        if "?" in path or "#" in path or "//" in path or path.endswith("/"):
            raise ValueError(
                f"{path!r} must be a plain path such as `/orders`, without a slash at its end, a query or a fragment"
            )
        for prefix in (*_RESERVED, *served_prefixes()):
            if path == prefix or path.startswith(f"{prefix}/"):
                raise ValueError(f"{path!r}: {prefix} belongs to the platform")
        segments, parameters = _pieces(path)
        return cls(method, path, segments, parameters)

    def __str__(self) -> str:
        """Return the route as declared."""
        return f"{self.method} {self.path}"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(name for _, name in self.parameters)

    def conflict(self, other: "Route") -> str:
        """Return why both cannot stand beside each other, as the end of a sentence that begins with this one; else nothing."""
        if len(self.segments) != len(other.segments):
            return ""
        pairs = list(zip(self.segments, other.segments, strict=True))
        if any(mine and theirs and mine != theirs for mine, theirs in pairs):
            return ""
        if self.method != other.method:
            is_same_path = self.segments == other.segments and self.names != other.names
            return "names its parameters otherwise than" if is_same_path else ""
        if self.segments == other.segments:
            return "matches the same requests as"
        mixed = any(mine and not theirs for mine, theirs in pairs) and any(theirs and not mine for mine, theirs in pairs)
        return "matches some of the same requests, and neither is the more precise, as" if mixed else ""


def _pieces(path: str) -> tuple[tuple[str, ...], tuple[tuple[int, str], ...]]:
    segments: list[str] = []
    parameters: list[tuple[int, str]] = []
    for segment in path[1:].split("/"):
        if parameter := _PARAMETER.fullmatch(segment):
            parameters.append((len(segments), parameter["name"]))
            segments.append("")
        elif _NAME.fullmatch(segment) and segment not in {".", ".."}:
            segments.append(segment)
        else:
            raise ValueError(
                f"{path!r}: {segment!r} is neither a name nor a parameter, which is a whole segment: `/orders/{{order_id}}`"
            )
    if not segments[0]:
        raise ValueError(f"{path!r} would cover what belongs to the platform; begin with a name: `/orders/{{order_id}}`")
    if len({name for _, name in parameters}) < len(parameters):
        raise ValueError(f"{path!r} has a parameter twice")
    return tuple(segments), tuple(parameters)
