"""Whatever state accepts, every reader of the platform reads back equal: no document and no key is poison further on."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, ChannelDeclaration, NamespaceAccess, NamespaceDeclaration
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.resources import NOTHING, Granted
from stylobate.ids import new_id
from stylobate.keys import from_channel, in_channel
from stylobate.modules.payload import decode, encode
from stylobate.outbox import Event, Position
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.strict_json import loads
from stylobate.testing.fixtures import DatabaseFor
from stylobate_realtime.channels import ChannelRules, checked_payload
from stylobate_realtime.protocol.json_codec import JsonCodec
from stylobate_realtime.protocol.messages import Publication, Push, Reply
from stylobate_realtime.protocol.protobuf_codec import ProtobufCodec
from stylobate_realtime.settings import RealtimeSettings
from stylobate_state.errors import StateDataInvalidError, StateKeyInvalidError
from stylobate_state.model import StateRecord
from stylobate_state.operation import Patch, Put
from stylobate_state.settings import StateSettings
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.postgres import PostgresStateStore

ADA = Principal(kind=PrincipalKind.USER, id="ada")
OPEN = AccessRule(("public",))
FREE = NamespaceDeclaration("free", "free", access=NamespaceAccess(OPEN, OPEN, OPEN, OPEN, OPEN))
CHANNEL = ChannelDeclaration("free", "free", subscribe="state:free")
MAX_BYTES = StateSettings().max_data_bytes
ONE_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


class Nobody:
    """Grants nothing, and no hook is declared."""

    async def allowed(self, *_: object) -> bool:
        """Return that it is not."""
        return False

    async def granted(self, *_: object) -> Granted:
        """Return that it is not, on anything."""
        return NOTHING

    async def ask(self, *_: object) -> bytes:
        """Agree."""
        return b""


class Platform:
    """State over PostgreSQL, its log, and state in memory as the test kit has it."""

    def __init__(self, database: DatabaseManager, manager: StateManager, in_memory: StateManager) -> None:
        self.manager, self.in_memory = manager, in_memory
        self.log, self.numbering = PostgresEventLog(database, "state"), PostgresNumbering(database, "test")
        self.position = Position.origin()
        self.channels = ChannelRules({"free": CHANNEL}, Nobody(), None)

    async def happened(self) -> tuple[list[Event], list[Event]]:
        """Return what happened since: as the relay publishes it live, and as the log tells durable hooks."""
        live = [logged.event for logged in await self.numbering.number(1)]
        page = await self.log.read(self.position)
        self.position = page.position
        return live, [logged.event for logged in page.events]


@pytest_asyncio.fixture
async def platform(database_for: DatabaseFor) -> AsyncIterator[Platform]:
    """Open it."""
    database = await database_for("state", MigrationSet.of("outbox"), MigrationSet.of("state", "stylobate_state.store"))
    stores = (PostgresStateStore(database, PostgresIdempotencyLedger(database)), MemoryStateStore(lambda: datetime.now(UTC)))
    environments = [
        Environment(store, AccessEvaluator(Nobody()), Nobody(), lambda _: None, lambda: datetime.now(UTC), new_id)
        for store in stores
    ]
    declared: dict[str, Any] = {"max_data_bytes": MAX_BYTES, "channels": {"free": CHANNEL}}
    async with (
        StateManager.open({"free": FREE}, environments[0], **declared) as manager,
        StateManager.open({"free": FREE}, environments[1], **declared) as in_memory,
    ):
        found = Platform(database, manager, in_memory)
        await found.numbering.claim(1)
        yield found


def exactly(document: bytes) -> Any:
    """Read every number as the decimal that it says."""
    return json.loads(document, parse_int=Decimal, parse_float=Decimal)


def as_read(document: bytes) -> list[Any]:
    """Read as each parser reads that some part, handler or client uses; refusals are failures."""
    return [loads(document), decode(document), orjson.loads(document), msgspec.json.decode(document), json.loads(document)]


space = st.sampled_from(["", " ", "\n", "\t \r\n"])
number = st.one_of(
    st.integers(-(2**64), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.builds("{}.{}e{}".format, st.integers(-99, 99), st.integers(0, 10**30), st.integers(-420, 420)),
    st.builds("{}E+{}".format, st.integers(-(10**25), 10**25), st.integers(0, 300)),
    st.sampled_from(
        ["-0", "-0.0", "0e5", "1e22", "1e23", "18446744073709551615", "18446744073709551616", "9007199254740993", "1.10"]
    ),
)
string = (
    st.text().map(json.dumps)
    | st.text().map(lambda text: json.dumps(text, ensure_ascii=False))
    | st.sampled_from(
        [r'"\u0000"', r'"\\u0000"', r'"\ud800"', r'"\ud83d\ude00"', r'"\/"', r'"\u2028\u2029"', '"\x7f"', '"e\\u0301"']
    )
)
name = string | st.sampled_from(['"a"', '"b"', '""'])
document = st.recursive(
    st.sampled_from(["null", "true", "false"]) | number | string,
    lambda inner: st.one_of(
        st.tuples(space, st.lists(inner, max_size=4)).map(lambda part: f"[{part[0]}{(',' + part[0]).join(part[1])}]"),
        st.tuples(space, st.lists(st.tuples(name, inner), max_size=4)).map(
            lambda part: "{" + f",{part[0]}".join(f"{key}{part[0]}:{value}" for key, value in part[1]) + "}"
        ),
    ),
    max_leaves=12,
).map(lambda text: text.encode(errors="surrogatepass"))


@ONE_DATABASE
@given(sent=document)
async def test_a_document_that_is_accepted_reads_back_equal_everywhere(platform: Platform, sent: bytes) -> None:
    """The answer, reads, lists, history, live and durable events, pushes in both encodings, and what a handler writes back."""
    key = new_id()
    try:
        put = await platform.manager.change(ADA, "free", key, Put(sent), expected=0)
    except StateDataInvalidError:
        with pytest.raises(StateDataInvalidError):
            await platform.in_memory.change(ADA, "free", key, Put(sent), expected=0)
        return
    assert exactly(put.data) == exactly(sent)
    assert exactly((await platform.in_memory.change(ADA, "free", key, Put(sent), expected=0)).data) == exactly(sent)
    read = as_read(put.data)
    assert all(value == read[0] for value in read[:3])
    await every_state_reader(platform, put)
    live, durable = await platform.happened()
    for event in (*live, *durable, *(Event.parse(event.json()) for event in durable)):
        told = msgspec.json.decode(event.data, type=dict[str, Raw])
        assert exactly(bytes(told["data"])) == exactly(sent)
        pushed(platform, key, event)
    back = await platform.manager.change(ADA, "free", key, Put(encode(decode(put.data))), expected=1)
    assert loads(back.data) == loads(put.data)
    # jsonb keeps 1e17 as the integer that it is; what came as an integer stays one
    assert not Counter(integers(loads(put.data))) - Counter(integers(loads(back.data)))
    patched = await platform.manager.change(ADA, "free", key, Patch(b'{"patched": true}'), expected=2)
    assert loads(patched.data)["patched"] is True
    await platform.happened()


async def every_state_reader(platform: Platform, put: StateRecord) -> None:
    """Read it in each way that state offers: byte for byte what the answer said."""
    key = put.key.key
    assert (await platform.manager.get(ADA, [("free", key)])) == [put]
    (entry,) = (await platform.manager.list_history(ADA, "free", key)).items
    assert entry.data == put.data
    found = {state.key.key: state async for state in everything(platform.manager)}
    assert found[key] == put


async def everything(manager: StateManager) -> AsyncIterator[StateRecord]:
    """Go through the whole list."""
    token = ""
    while True:
        page = await manager.list_states(ADA, "free", ListRequest(size=500, token=token))
        for state in page.items:
            yield state
        token = page.next_token
        if not token:
            return


def pushed(platform: Platform, key: str, event: Event) -> None:
    """Publish it as a hook does: the channel is one, the payload is taken, and both encodings carry it whole."""
    channel = in_channel(f"free:{event.subject}")
    assert platform.channels.declaration(channel) is CHANNEL
    assert from_channel(channel.partition(":")[2]) == key
    payload = checked_payload(event.data, RealtimeSettings().publication_bytes)
    reply = Reply(push=Push(channel=channel, pub=Publication(data=Raw(payload))))
    line = JsonCodec().encode(reply)
    assert b"\n" not in line
    assert exactly(line)["push"]["pub"]["data"] == exactly(payload)
    loads(line)
    assert payload in ProtobufCodec().encode(reply)


def integers(value: Any) -> list[int]:
    """Return every integer in it, in order: what must come through as an integer."""
    if isinstance(value, dict):
        return [found for member in value.values() for found in integers(member)]
    if isinstance(value, list):
        return [found for item in value for found in integers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


@ONE_DATABASE
@given(key=st.text(max_size=260) | st.text(st.sampled_from("a%4eé \u0301\u202e\ufffd/.~"), max_size=8))
async def test_a_key_that_is_accepted_names_one_object_and_one_channel(platform: Platform, key: str) -> None:
    """It can be read, listed and told of, and its channel leads back to it."""
    try:
        put = await platform.manager.change(ADA, "free", key, Put(b"1"), expected=None)
    except StateKeyInvalidError:
        return
    assert (await platform.manager.get(ADA, [("free", key)])) == [put]
    live, durable = await platform.happened()
    for event in (*live, *durable):
        assert event.subject == key
        pushed(platform, key, event)


@pytest.mark.parametrize(
    "data",
    [b"[" + b",".join([b"1e9"] * 60_000) + b"]", b"[" + b",".join([b"0"] * 130_000) + b"]", b'"' + b"x" * (MAX_BYTES - 2) + b'"'],
)
async def test_what_is_long_enough_for_state_is_not_too_long_for_a_push(platform: Platform, data: bytes) -> None:
    """A document grows when PostgreSQL writes it; what is accepted still fits into a publication, and can still be changed."""
    try:
        await platform.manager.change(ADA, "free", "long", Put(data), expected=None)
    except StateDataInvalidError:
        return
    live, _ = await platform.happened()
    pushed(platform, "long", live[0])
    await platform.manager.change(ADA, "free", "long", Patch(b'{"now": "short"}'), expected=None)
