"""State objects of an ephemeral namespace in Redis or Valkey: one script call for the writes of a batch."""

import asyncio
import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from stylobate.errors import DatabaseUnavailableError, RedisUnavailableError
from stylobate.health import Health
from stylobate.idempotency import Answer, Claim
from stylobate.redis import RedisManager, Script

from stylobate_state.model import (
    Change,
    IndexQuery,
    ListQuery,
    Refused,
    StateKey,
    StateRecord,
    Taken,
    Withheld,
    Write,
    WriteOutcome,
    Written,
)
from stylobate_state.store.ephemeral import EphemeralStore, as_kept, check_list
from stylobate_state.store.part import Part, bounded

_PACKAGE = "stylobate_state.store"
_MS = timedelta(milliseconds=1)
_ANY = -1
"""No expected version, to the script."""
_LOOK_AT = 500
"""Keys in one step of a list."""
_NO_BOUND = 2**62
_REFUSED, _WITHHELD, _TAKEN = 1, 2, 3
"""What the script answers beside a write that happened."""


class _Kept(NamedTuple):
    """An object as the scripts keep it."""

    version: int
    status: str
    owner: str
    created: int
    updated: int
    first_version: int
    is_deleted: bool
    data: str


class _Done(NamedTuple):
    """What is kept of a change under its idempotency key."""

    request: str
    is_group: bool
    states: list[tuple[str, _Kept]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_kept = msgspec.msgpack.Decoder(_Kept).decode
_done = msgspec.msgpack.Decoder(_Done).decode


class RedisStateStore(EphemeralStore):
    """A StateStore of one namespace, whose objects are gone when nobody changed them for a time. The clock is the server's."""

    def __init__(self, redis: RedisManager, namespace: str, ttl: timedelta) -> None:
        self._redis = redis
        self._namespace = namespace
        self._ttl_ms = max(1, ttl // _MS)
        self._write_script = Script.of(_PACKAGE, "write_ephemeral.lua", hears_run_id=True)
        self._list_script = Script.of(_PACKAGE, "list_ephemeral.lua")
        self._count_script = Script.of(_PACKAGE, "count_ephemeral.lua")

    def part(self, namespace: str) -> "RedisStateStore":
        del namespace
        return self

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        found = await asyncio.gather(*(self._read(tenant, some) for tenant, some in _by_tenant(keys).items()))
        return {key: state for one in found for key, state in one.items()}

    async def _read(self, tenant: str, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        before = _prefix(tenant, self._namespace) + "o:"
        with _translated(self._namespace):
            stored = await self._redis.call("MGET", *(before + key.key for key in keys))
        return {key: _state(key, _kept(one)) for key, one in zip(keys, stored, strict=True) if one is not None}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        kept = [write.data if write.keeps_data else as_kept(write.data) for write in writes]
        tenants: dict[str, list[int]] = {}
        for index, write in enumerate(writes):
            tenants.setdefault(write.key.tenant, []).append(index)
        if len(tenants) == 1:
            return await self._write(writes[0].key.tenant, writes, kept)
        parts = await asyncio.gather(
            *(
                self._write(tenant, [writes[index] for index in chosen], [kept[index] for index in chosen])
                for tenant, chosen in tenants.items()
            )
        )
        outcomes = dict(zip([index for chosen in tenants.values() for index in chosen], chain.from_iterable(parts), strict=True))
        return [outcomes[index] for index in range(len(writes))]

    async def _write(self, tenant: str, writes: Sequence[Write], kept: Sequence[bytes]) -> list[WriteOutcome]:
        space = _prefix(tenant, self._namespace)
        before = space + "o:"
        names = [space + "meta", space + "keys", space + "owned", space + "due"]
        claims: list[tuple[str, int]] = []
        claim_names: list[str] = []
        told = []
        for write, data in zip(writes, kept, strict=True):
            names.append(before + write.key.key)
            if write.claim is not None:
                claims.append((write.claim.request.hex(), max(1, (write.claim.expires_at - write.claim.at) // _MS)))
                claim_names.append(_claim_name(self._namespace, write.claim))
            told.append((
                _ANY if write.expected is None else write.expected,
                write.owner,
                False if write.status is None else write.status,
                not write.keeps_data and data.decode(),  # cmsgpack knows no bytes
                write.change is Change.DELETED,
                write.group,
                0 if write.claim is None else len(claims),
            ))  # fmt: skip
        batch = _encode((len(before.encode()), self._ttl_ms, told, claims))
        with _translated(self._namespace):
            answer = await self._redis.run(self._write_script, [*names, *claim_names], (batch,))
        return [_outcome(write, data, one) for write, data, one in zip(writes, kept, _decode(answer), strict=True)]

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        check_list(query)
        if query.keys is not None:
            return await self._among(query, query.keys)
        space = _prefix(query.tenant, query.namespace)
        place = space + ("keys" if query.owner is None else "owned")
        head = "" if query.owner is None else f"{query.owner}\0"
        items: list[StateRecord] = []
        size, after = 0, query.after
        while True:
            with _translated(self._namespace):
                wanted, left = query.limit + 1 - len(items), max(query.max_bytes - size, 0)
                arguments = (space + "o:", head, after, _LOOK_AT, wanted, left)
                behind, *found = await self._redis.run(self._list_script, (place,), arguments)
            for key, stored in zip(found[::2], found[1::2], strict=True):
                state = _state(StateKey(query.tenant, query.namespace, key.decode()), _kept(stored))
                if state.is_deleted or query.owner not in {None, state.owner}:
                    continue  # what an owner before left in the set, until it is swept
                size += len(state.data)
                if items and (len(items) == query.limit or size > query.max_bytes):
                    return Part(items, has_more=True)
                items.append(state)
            if behind is None:
                return Part(items, has_more=False)
            after = behind.decode()

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        if isinstance(query, IndexQuery):
            return None
        check_list(query)
        if query.keys is not None:
            return len((await self._among(replace(query, max_bytes=_NO_BOUND), query.keys)).items)
        space = _prefix(query.tenant, query.namespace)
        head = "" if query.owner is None else f"{query.owner}\0"
        with _translated(self._namespace):
            return int(await self._redis.run(self._count_script, (space + "owned", space + "due"), (head, query.limit)))

    async def _among(self, query: ListQuery, keys: Collection[str]) -> Part[StateRecord]:
        """Return what stands at the keys, which are looked up one by one, together with the objects of the owner."""
        asked = [StateKey(query.tenant, query.namespace, key) for key in sorted(keys, key=str.encode) if key > query.after]
        found: dict[str, StateRecord] = {}
        for start in range(0, len(asked), self.most_at_once):
            read = await self.read(asked[start : start + self.most_at_once])
            found |= {key.key: state for key, state in read.items() if not state.is_deleted}
        has_more = False
        if query.owner is not None:
            owned = await self.list_states(replace(query, keys=None))
            if has_more := owned.has_more:
                found = {key: state for key, state in found.items() if key <= owned.items[-1].key.key}
            found |= {state.key.key: state for state in owned.items}
        part = bounded([state for _, state in sorted(found.items())], query.limit, query.max_bytes)
        return Part(part.items, part.has_more or has_more)

    async def health(self) -> Health:
        return await self._redis.health()


class RedisAnswers:
    """The IdempotencyAnswers to changes of an ephemeral namespace: a store writes them with the change."""

    def __init__(self, redis: RedisManager, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    async def find(self, claim: Claim) -> Answer | None:
        with _translated(self._namespace):
            stored = await self._redis.call("GET", _claim_name(self._namespace, claim))
        if stored is None:
            return None
        done = _done(stored)
        request = bytes.fromhex(done.request)
        if request != claim.request:
            return Answer(request, b"")  # it is not the answer to this one, and may be of another shape
        states = [_state(StateKey(claim.tenant, self._namespace, key), kept) for key, kept in done.states]
        return Answer(request, claim.encode(states if done.is_group else states[0]))

    async def prune(self, now: datetime) -> int:
        """Remove nothing: answers expire by themselves."""
        del now
        return 0


def _prefix(tenant: str, namespace: str) -> str:
    """Return what all names of a namespace's keys begin with: its hash tag, for whatever is changed in one step."""
    return f"{{state:{tenant}:{namespace}}}:"


def _claim_name(namespace: str, claim: Claim) -> str:
    said = hashlib.sha256(f"{claim.caller}\0{claim.method}\0{claim.key}".encode())
    return f"{_prefix(claim.tenant, namespace)}i:{said.hexdigest()}"


def _by_tenant(keys: Sequence[StateKey]) -> dict[str, list[StateKey]]:
    tenants: dict[str, list[StateKey]] = {}
    for key in keys:
        tenants.setdefault(key.tenant, []).append(key)
    return tenants


@contextmanager
def _translated(namespace: str) -> Iterator[None]:
    """Let what is said of the server be said of the store, as its port promises."""
    try:
        yield
    except RedisUnavailableError as error:
        detail = f"Valkey, which keeps the ephemeral namespace {namespace}, does not answer at the moment."
        raise DatabaseUnavailableError(detail, metadata=error.metadata, retry_after=error.retry_after) from error


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)  # exact for as long as a double holds them, beyond the year 2100


def _state(key: StateKey, kept: _Kept) -> StateRecord:
    version, status, owner, created, updated, first_version, is_deleted, data = kept
    return StateRecord(
        key, version, status, data.encode(), owner, _time(created), _time(updated), first_version, is_deleted=is_deleted
    )


def _outcome(write: Write, data: bytes, answer: list[Any]) -> WriteOutcome:
    code, *found = answer
    if code == _REFUSED:
        return Refused(found[0])
    if code == _WITHHELD:
        return Withheld()
    if code == _TAKEN:
        return Taken()
    version, status, created, updated, first_version = found
    return Written(version, status, write.owner, _time(created), _time(updated), first_version, data)
