"""If-Match and If-None-Match (RFC 9110 §13) over the versions of state objects.

The state service compares one version with what is stored, in the statement that writes. A condition that names one version is
handed to it as it is; any other is held against the version that is there, and the write is bound to that version.
"""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from stylobate.api.state.v1.state_service_pb2 import State
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.errors import StylobateError

from stylobate_gateway.errors import InvalidHeaderError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.idempotency import has_key

T = TypeVar("T")
_TAG = re.compile(r'(W/)?"([1-9][0-9]{0,17})(-gzip)?"')  # of what was compressed, which is the same version
_TRIES = 5
_NOT_THAT = frozenset({StateVersionConflictError.reason, StateNotFoundError.reason})
NEVER = 2**63 - 1
"""A version that no object reaches: a change that expects it is judged and never made."""
_ONE = r'(W/)?"[1-9][0-9]{0,17}(-gzip)?"'
FORM = {"pattern": rf"^(\*|{_ONE}( *, *{_ONE})*)$"}
"""JSON Schema of both headers."""


class Condition(NamedTuple):
    """One header."""

    is_any: bool
    versions: frozenset[int]
    packed: frozenset[int] = frozenset()
    """Of them, those whose compressed form is named."""

    def names(self, version: int) -> bool:
        """Whether the version (0: there is no object) is among those named."""
        return version > 0 and (self.is_any or version in self.versions)


class Preconditions(NamedTuple):
    """What a request insists on of the object that its path names."""

    namespace: str
    key: str
    match: Condition | None
    none_match: Condition | None
    exchange: Exchange

    @classmethod
    def of(cls, exchange: Exchange, namespace: str, key: str) -> "Preconditions":
        """Read both headers. Raises InvalidHeaderError."""
        match = _condition(
            exchange.headers.get(b"if-match"), "If-Match", takes_weak=False
        )  # strong comparison (RFC 9110 §13.1.1)
        none_match = _condition(exchange.headers.get(b"if-none-match"), "If-None-Match", takes_weak=True)
        return cls(namespace, key, match, none_match, exchange)

    def is_unchanged(self, version: int) -> bool:
        """Whether a reader has this version (0: no object) already. Raises the conflict where it is not one that must match."""
        if self.match is not None and not self.match.names(version):
            raise self._conflict(version)
        return self.none_match is not None and self.none_match.names(version)

    def unchanged(self, version: int) -> dict[str, str]:
        """Return the fields of 304: those that the answer had which the reader has."""
        is_packed = self.none_match is not None and version in self.none_match.packed
        return {"etag": f'"{version}-gzip"', "vary": "accept-encoding"} if is_packed else {"etag": f'"{version}"'}

    async def guard(
        self, change: Callable[[int | None], Awaitable[T]], present: Callable[[str, str], Awaitable[State | None]]
    ) -> T:
        """Make a change under these conditions.

        :param change: takes the version that the object must have, 0: it must not exist, None: any.
        :param present: returns the object as it is; None: there is none, and the change may make it.
        :raises StylobateError: 412 ``STATE_VERSION_CONFLICT``, or what the change is refused with.
        """
        match, none_match = self.match, self.none_match
        if match is None and none_match is None:
            return await change(None)
        if match is None and none_match is not None and none_match.is_any:
            return await change(0)
        if match is not None and none_match is None and len(match.versions) == 1:
            return await change(next(iter(match.versions)))
        for _ in range(_TRIES):
            try:
                found = await present(self.namespace, self.key)
                version = found.version if found is not None else 0
                if self.is_unchanged(version):
                    raise self._conflict(version)
            except StylobateError as error:
                return await self._earlier(change, error)
            try:
                return await change(version)
            except StylobateError as error:  # somebody was faster: the new version may do as well
                if error.reason != StateVersionConflictError.reason:
                    raise
        raise self._conflict(version)

    async def _earlier(self, change: Callable[[int | None], Awaitable[T]], refused: StylobateError) -> T:
        """Return the answer of an earlier request with the same key, which may have changed what the conditions are about."""
        if not has_key(self.exchange):
            raise refused
        try:
            return await change(NEVER)
        except StylobateError as error:
            raise (refused if error.reason in _NOT_THAT else error) from None

    def _conflict(self, version: int) -> StateVersionConflictError:
        return StateVersionConflictError(self.namespace, self.key, actual=version)


def _condition(given: bytes | None, name: str, *, takes_weak: bool) -> Condition | None:
    """Read one header.

    :param given: its value; None: it was not sent.
    :param takes_weak: whether a weak tag (``W/"3"``) is a name of its version; else it is one of none.
    """
    if given is None:
        return None
    tags = [tag for tag in map(str.strip, given.decode("latin-1").split(",")) if tag]
    if tags == ["*"]:
        return Condition(is_any=True, versions=frozenset())
    found = [_TAG.fullmatch(tag) for tag in tags]
    if not found or None in found:
        raise InvalidHeaderError(f'{name} must be `*`, or have the form `"<version>"`, as ETag gave it; several with commas.')
    named = [match for match in found if match and (takes_weak or not match[1])]
    packed = frozenset(int(match[2]) for match in named if match[3])
    return Condition(is_any=False, versions=frozenset(int(match[2]) for match in named), packed=packed)
