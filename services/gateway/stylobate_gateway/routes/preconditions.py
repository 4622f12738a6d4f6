"""If-Match and If-None-Match (RFC 9110 §13) over the versions of state objects.

The state service compares one version with what is stored, in the statement that writes. A condition that names one version is
handed to it as it is; any other is held against the version that is there, and the write is bound to that version.
"""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from stylobate.api.state.v1.state_service_pb2 import State
from stylobate.clients.state import StateVersionConflictError
from stylobate.errors import StylobateError

from stylobate_gateway.errors import InvalidHeaderError

T = TypeVar("T")
_TAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,17})"')  # weak too: proxies that compress make it so
_TRIES = 5
FORM = {"pattern": r'^(\*|(W/)?"[1-9][0-9]{0,17}"( *, *(W/)?"[1-9][0-9]{0,17}")*)$'}
"""JSON Schema of both headers."""


class Condition(NamedTuple):
    """One header."""

    is_any: bool
    versions: frozenset[int]

    def names(self, version: int) -> bool:
        """Whether the version (0: there is no object) is among those named."""
        return version > 0 and (self.is_any or version in self.versions)


class Preconditions(NamedTuple):
    """What a request insists on of the object that its path names."""

    namespace: str
    key: str
    match: Condition | None
    none_match: Condition | None

    @classmethod
    def of(cls, request: Request) -> "Preconditions":
        """Read both headers. Raises InvalidHeaderError."""
        headers, place = request.headers, request.path_params
        return cls(place["namespace"], place["key"], _condition(headers, "If-Match"), _condition(headers, "If-None-Match"))

    def is_unchanged(self, version: int) -> bool:
        """Whether a reader has this version (0: no object) already. Raises the conflict where it is not one that must match."""
        if self.match is not None and not self.match.names(version):
            raise self._conflict(version)
        return self.none_match is not None and self.none_match.names(version)

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
            found = await present(self.namespace, self.key)
            version = found.version if found is not None else 0
            if self.is_unchanged(version):
                raise self._conflict(version)
            try:
                return await change(version)
            except StylobateError as error:  # somebody was faster: the new version may do as well
                if error.reason != StateVersionConflictError.reason:
                    raise
        raise self._conflict(version)

    def _conflict(self, version: int) -> StateVersionConflictError:
        return StateVersionConflictError(self.namespace, self.key, actual=version)


def _condition(headers: Headers, name: str) -> Condition | None:
    given = headers.getlist(name)
    if not given:
        return None
    tags = [tag for tag in map(str.strip, ",".join(given).split(",")) if tag]
    if tags == ["*"]:
        return Condition(is_any=True, versions=frozenset())
    found = [_TAG.fullmatch(tag) for tag in tags]
    if not found or None in found:
        raise InvalidHeaderError(f'{name} must be `*`, or have the form `"<version>"`, as ETag gave it; several with commas.')
    return Condition(is_any=False, versions=frozenset(int(match[1]) for match in found if match))
