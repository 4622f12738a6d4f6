"""How a check of limits went, and what is told of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Self

import grpc

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Policy
from stylobate.clients.bans import BannedError
from stylobate.clients.limit_rows import ALLOWED, BANNED, FIXED
from stylobate.errors import StylobateError
from stylobate.http.asgi import LimitText, limit_headers, limit_text_of, standing

LIMIT = "limit."
"""What the keys begin with, in the metadata of an error, that say how a limit stands."""
_NUMBERS = ("policy", "quota", "window", "remaining", "reset")


class RateLimitedError(StylobateError):
    """A limit is reached; nothing was charged. Metadata: policy, quota, window, remaining, reset (seconds)."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    default_detail = "Too many requests."
    cure = "Wait for the time in Retry-After; the headers RateLimit and RateLimit-Policy say how the limit stands."


@dataclass(frozen=True, slots=True)
class AppliedLimit:
    """A level as the ratelimit service applied it. Made when the service tells of it, and kept."""

    name: str = ""
    quota: int = 0
    """Charges per window."""
    window: int = 0
    """Seconds, rounded up."""
    is_rule: bool = False
    """Whether it is one that the service knows by name, and not one that the caller brought."""
    is_shadow: bool = False
    """Whether it is counted only, and told to nobody."""
    text: LimitText = field(init=False)
    """Its entry in one header field, and how its entry in the other begins: see :mod:`stylobate.http.asgi`."""

    def __post_init__(self) -> None:
        """Make the texts."""
        object.__setattr__(self, "text", limit_text_of(self.name, self.quota, self.window))

    @classmethod
    def of(cls, policy: Policy, *, is_rule: bool = False) -> Self:
        """Return what is told of a policy."""
        seconds = ceil(policy.period.seconds + policy.period.nanos / 1e9)
        return cls(policy.name, policy.limit, seconds, is_rule, policy.shadow)

    def reached(self, wait: timedelta, remaining: int = 0, reset: int | None = None) -> RateLimitedError:
        """Return the error for a check that it refused.

        :param wait: until a retry can pass. :param reset: seconds until it is full again; None: as long as that.
        """
        numbers = (self.name, self.quota, self.window, remaining, ceil(wait.total_seconds()) if reset is None else reset)
        return RateLimitedError(
            f"The limit {self.name} of {self.quota} per {self.window} s is reached.",
            metadata=_metadata(numbers),
            retry_after=wait,
        )


class AppliedLimits(tuple[AppliedLimit, ...]):  # noqa: SLOT001  a tuple has no slots beside its own
    """The levels of a check, outermost first, with the lines that tell of them, but for the numbers."""

    def __init__(self, limits: Iterable[AppliedLimit]) -> None:
        told = [(at, limit) for at, limit in enumerate(limits) if not limit.is_shadow][::-1]
        self.brought = tuple(at for at, limit in told if not limit.is_rule)
        """The places of those that may be told of, the innermost first: of those that the caller brought."""
        self.by_name = tuple(at for at, limit in told if limit.is_rule)
        """And of those that the service knows by name."""
        self.forms: dict[tuple[int, ...], bytes] = {}
        """By the places of the levels that are told of."""

    def form(self, shown: tuple[int, ...]) -> bytes:
        """Return the lines that tell of these levels, with places for what is left and for the seconds of each."""
        texts = [standing(self[at].text, "\0", "\0") for at in shown]
        lines = b"".join([b"%b: %b\r\n" % field for field in limit_headers(texts)])
        form = self.forms[shown] = lines.replace(b"%", b"%%").replace(b"\0", b"%d")
        return form


NOTHING = (AppliedLimit(),)
"""Where nobody decided, so that nothing is told."""


class LimitOutcome:
    """How a check went. The numbers are those of the level that refused it, or of the tightest one.

    It is made for each request, so that most of it is read out of the answer only where somebody asks.
    """

    __slots__ = ("_row", "degraded", "limits")

    def __init__(self, row: Sequence[int], limits: Sequence[AppliedLimit], degraded: bool) -> None:
        """Keep an answer.

        :param row: as :mod:`stylobate.clients.limit_rows` has it.
        :param limits: the levels, outermost first.
        :param degraded: whether Redis or the ratelimit service could not be asked; the numbers then promise nothing.
        """
        self._row = row
        self.limits = limits
        self.degraded = degraded

    @classmethod
    def of(
        cls,
        ended: int = ALLOWED,
        limits: Sequence[AppliedLimit] = NOTHING,
        level: int = 0,
        *,
        remaining: int = 0,
        reset_ms: int = 0,
        retry_ms: int = 0,
        standings: Sequence[int] = (),
        degraded: bool = False,
    ) -> Self:
        """Return an outcome of these numbers; see the properties."""
        return cls((ended, level, remaining, reset_ms, retry_ms, 0, *standings), limits, degraded)

    @property
    def allowed(self) -> bool:
        """Whether it passed."""
        return self._row[0] == ALLOWED

    @property
    def is_banned(self) -> bool:
        """Whether it was refused because one of the subjects is banned."""
        return self._row[0] == BANNED

    @property
    def level(self) -> int:
        """Which of the levels the numbers are of."""
        return self._row[1]

    @property
    def remaining(self) -> int:
        """Charges left now."""
        return self._row[2]

    @property
    def reset_ms(self) -> int:
        """Until the level is full again."""
        return self._row[3]

    @property
    def retry_ms(self) -> int:
        """For a refused check: when a retry can pass."""
        return self._row[4]

    @property
    def standings(self) -> Sequence[int]:
        """Of several levels for each what is left, and the milliseconds until it is full again."""
        return self._row[FIXED:]

    @property
    def is_decided(self) -> bool:
        """Whether the ratelimit service decided it, if only by what one of its processes counts."""
        return self.limits is not NOTHING

    @property
    def policy(self) -> str:
        """The level's name."""
        return self.limits[self.level].name

    @property
    def quota(self) -> int:
        """Charges per window."""
        return self.limits[self.level].quota

    @property
    def window(self) -> int:
        """Seconds, rounded up."""
        return self.limits[self.level].window

    @property
    def reset(self) -> int:
        """Seconds until the level is full again, rounded up."""
        return -(-self.reset_ms // 1000)

    @property
    def retry_after(self) -> timedelta | None:
        """For a refused check: when a retry can pass."""
        return None if self.allowed else timedelta(milliseconds=self.retry_ms)

    def texts(self) -> list[LimitText]:
        """Return the entries in the header fields, see :mod:`stylobate.http.asgi`; none when degraded.

        They are those of each limit that the caller brought, the innermost first, and of the tightest of those known by name.
        Of a refused check the level that refused it is left out: its error tells of it.
        """
        if self.degraded or not self.is_decided:
            return []
        standings, limits = self.standings, self.limits
        if not standings:
            limit = limits[self.level]
            return [standing(limit.text, self.remaining, self.reset)] if self.allowed and not limit.is_shadow else []
        return [standing(limits[at].text, standings[2 * at], -(-standings[2 * at + 1] // 1000)) for at in self._shown()]

    def lines(self) -> bytes:
        """Return the same as lines of the head of an answer, each with its end."""
        row, limits = self._row, self.limits
        if len(row) == FIXED or self.degraded or not isinstance(limits, AppliedLimits):
            return b"".join([b"%b: %b\r\n" % field for field in limit_headers(self.texts())])
        shown = limits.brought if not limits.by_name and self.allowed else self._shown()
        numbers: list[int] = []
        for at in shown:
            place = FIXED + 2 * at
            numbers += row[place], -(-row[place + 1] // 1000)
        return (limits.forms.get(shown) or limits.form(shown)) % tuple(numbers)

    def _shown(self) -> tuple[int, ...]:
        """Return which levels are told of, where each has a standing."""
        row, limits = self._row, self.limits
        if not isinstance(limits, AppliedLimits):
            limits = AppliedLimits(limits)
        refused = -1 if row[0] == ALLOWED else row[1]
        tightest, left = -1, 0
        for at in limits.by_name:
            if at != refused and (tightest < 0 or row[FIXED + 2 * at] <= left):
                tightest, left = at, row[FIXED + 2 * at]
        brought = limits.brought if refused < 0 else tuple([at for at in limits.brought if at != refused])
        return brought if tightest < 0 else (*brought, tightest)

    def metadata(self, prefix: str = "") -> dict[str, str]:
        """Return the numbers as metadata of an error; see :func:`carried_limit`."""
        return _metadata((self.policy, self.quota, self.window, self.remaining, self.reset), prefix)

    def error(self) -> RateLimitedError | BannedError:
        """Return the error for a refused check."""
        if self.is_banned:
            return BannedError(retry_after=timedelta(milliseconds=self.retry_ms))
        if self.degraded and not self.reset:  # closed, and not counted by a process of its own
            detail = f"The limit {self.policy} cannot be counted at the moment, and lets nobody pass meanwhile."
            return RateLimitedError(detail, metadata={"policy": self.policy}, retry_after=timedelta(milliseconds=self.retry_ms))
        return self.limits[self.level].reached(timedelta(milliseconds=self.retry_ms), self.remaining, self.reset)


def carried_limit(error: StylobateError) -> list[LimitText]:
    """Return how the limit stands that an error speaks of; none where it speaks of none.

    Of RATE_LIMITED it is the metadata. Of others, which the call was charged for all the same, it is taken out of the metadata.
    """
    carried = {key.removeprefix(LIMIT): value for key, value in error.metadata.items() if key.startswith(LIMIT)}
    error.metadata = {key: value for key, value in error.metadata.items() if not key.startswith(LIMIT)}
    if error.reason == RateLimitedError.reason:
        carried = error.metadata
    if not carried.keys() >= set(_NUMBERS):
        return []
    policy, quota, window, remaining, reset = (carried[name] for name in _NUMBERS)
    return [standing(limit_text_of(policy, quota, window), remaining, reset)]


def _metadata(numbers: Sequence[object], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name}": str(value) for name, value in zip(_NUMBERS, numbers, strict=True)}
