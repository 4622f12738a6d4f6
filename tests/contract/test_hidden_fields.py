"""Nothing hidden leaves by any door: random rules, callers and doors, over HTTP and gRPC of a running platform.

Every value says in which field it stands and whose object it was written to: ``notes~ada~17``. So each answer can be held
against the rules by itself, whatever happened before.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.server_events import ServerEventReader

from tests.people import PASSWORD, Person

FIELDS = ("notes", "total", "person.email", "person.address")
TERMS = ("authenticated", "owner", "veil:all", "veil:some", "actions")
WORDS = ("ada", "bob", "chief", "nobody")
HOLDS = {"ada": set[str](), "bob": {"veil:some"}, "chief": {"veil:some", "veil:all"}, "nobody": set[str]()}
_DRAW = random.Random("veil")
RULES = {
    f"veil{number}": {
        field: {
            kind: _DRAW.sample(TERMS, _DRAW.randint(0, 2)) or ["veil:all"] for kind in _DRAW.choice((["read"], ["read", "write"]))
        }
        for field in _DRAW.sample(FIELDS, _DRAW.randint(2, len(FIELDS)))
    }
    for number in range(5)
}
"""For each namespace and field who may read and write it."""
_VALUE = re.compile(r"(notes|total|person\.email|person\.address|title)~(\w+)~\d+")
_NUMBERS = itertools.count()
MODULE = """\
name: veil
permissions: { "veil:all": Everything, "veil:some": Something }
roles: { some: ["veil:some"] }
"""
NAMESPACE = """\
  {name}:
    schema:
      type: object
      properties:
        title: {{ type: string }}
        notes: {{ type: string }}
        total: {{ type: string }}
        person: {{ type: object, properties: {{ email: {{ type: string }}, address: {{ type: string }} }} }}
    initial: open
    access: {{ read: public, list: public, create: authenticated, write: public, delete: authenticated }}
    transitions: {{ turn: {{ from: [open, shut], to: shut, access: public, data: [title, notes, total, person] }} }}
    indexes:
      - {{ fields: [title] }}
      - {{ fields: [notes, title] }}
      - {{ fields: [total] }}
      - {{ fields: [person.email], unique: true }}
    fields: {fields}
    events: {{ data: [before, delta, cause] }}
"""
CODE = """\
from typing import Any

from stylobate.modules import ActionContext, BaseModule


class Veil(BaseModule):
    async def look(self, ctx: ActionContext, name: str) -> Any:
        found = await ctx.state.get(name, "1")
        return found and found.data
"""
ACTIONS = "actions:\n  veil.look: { handler: look, access: public, input: { type: string }, rate_limit: 1000000/second gcra }\n"


def may(terms: list[str], who: str, owner: str, *, by_handler: bool = False) -> bool:
    """Say whether a rule lets somebody at a field of an owner's object: what the platform is held against."""
    return bool(
        (who != "nobody" and ("authenticated" in terms or ("owner" in terms and who == owner)))
        or HOLDS[who] & {*terms}
        or (by_handler and "actions" in terms)
    )


class Desk:
    """Doors of the platform, and who goes through them."""

    def __init__(self, platform: Platform, people: dict[str, Person], stub: StateServiceStub) -> None:
        self.http = {name: person.http for name, person in people.items()}
        self.http["nobody"] = httpx.Client(base_url=platform.gateway, timeout=60, verify=NO_TLS)
        self.tokens = {name: person.token for name, person in people.items()}
        self.stub: Any = stub
        self.name = ""
        self.owner = "ada"
        self.answers: list[tuple[str, str, str]] = []
        """Who, through which door, was told what."""

    def begin(self, name: str) -> None:
        """Have an object of ada's that is whole."""
        self.name, self.owner, self.answers = name, "ada", []
        for who, person in self.http.items():
            if who != "nobody" and person.delete(self.path).status_code == 204:
                break
        assert self.http["ada"].put(self.path, json={"data": {}}).status_code == 200
        for field in FIELDS:
            writers = RULES[name].get(field, {})
            terms = writers.get("write", writers.get("read", ["authenticated"]))
            for who in WORDS[:3]:
                if may(terms, who, "ada"):
                    done = self.http[who].patch(self.path, json=self.data(field))
                    assert done.status_code == 200, (field, terms, who, done.text)
                    break

    @property
    def path(self) -> str:
        """Where the object is."""
        return f"/v1/state/{self.name}/1"

    def data(self, *fields: str) -> dict[str, Any]:
        """Return data with these fields."""
        made: dict[str, Any] = {}
        for field in fields:
            *outer, name = field.split(".")
            inner = made.setdefault(outer[0], {}) if outer else made
            inner[name] = f"{field}~{self.owner}~{next(_NUMBERS)}"
        return made

    def send(self, who: str, method: str, path: str = "", door: str = "", **sent: Any) -> httpx.Response:
        """Send a request and keep what it is answered."""
        answer = self.http[who].request(method, f"/v1/state/{self.name}{path}", **sent)
        assert answer.status_code < 500, answer.text
        self.answers.append((who, door or f"{method} {path}", f"{answer.text} {dict(answer.headers)}"))
        return answer

    def rpc(self, who: str, method: str, request: Any) -> None:
        """Call a method and keep what it is answered."""
        metadata = (("authorization", f"Bearer {self.tokens[who]}"),) if who != "nobody" else ()
        try:
            told = getattr(self.stub, method)(request, metadata=metadata, timeout=30)
            text = str(told)
        except grpc.RpcError as error:
            text = f"{error}{error.trailing_metadata()}"  # type: ignore[attr-defined]
        self.answers.append((who, method, text))

    def check(self) -> None:
        """Hold every answer against the rules."""
        for who, door, text in self.answers:
            for field, owner in _VALUE.findall(text):
                terms = RULES[self.name].get(field, {}).get("read", ["authenticated"])
                is_open = field not in RULES[self.name] or "read" not in RULES[self.name][field]
                seen = is_open or may(terms, who, owner, by_handler=door == "action")
                assert seen, f"{who} was told {field} of {owner}'s by {door}: {text[:2000]}"


def get(desk: Desk, who: str, _fields: list[str]) -> None:
    """Read, and find all that may be seen."""
    text = desk.send(who, "GET", "/1").text
    stored = json.dumps(desk.http["chief"].get(desk.path).json())
    for field, owner in _VALUE.findall(stored):
        rule = RULES[desk.name].get(field, {}).get("read")
        assert (f"{field}~" in text) == (rule is None or may(rule, who, owner)), (who, field, rule, text, stored)


def lists(desk: Desk, who: str, _fields: list[str]) -> None:
    """List in every way; what is hidden answers nothing."""
    desk.send(who, "GET")
    desk.send(who, "GET", params={"sort": "title"})
    for field in ("notes", "total", "person.email"):
        rule = RULES[desk.name].get(field, {}).get("read")
        found = desk.send(who, "GET", params={f"filter[{field}][gte]": "a", "count": 10}, door="filter")
        assert found.status_code == (200 if rule is None or may(rule, who, "") else 422), (who, field, rule, found.text)
        desk.send(who, "GET", params={"sort": field, "page_size": 1}, door="sort")


def looks_back(desk: Desk, who: str, _fields: list[str]) -> None:
    """Look at what was."""
    newest = desk.send(who, "GET", "/1/history").json()["items"]
    for version in {entry["version"] for entry in newest[:3]}:
        desk.send(who, "GET", "/1", params={"version": version}, door="version")


def puts_back(desk: Desk, who: str, _fields: list[str]) -> None:
    """Read and put back: nothing else changes."""
    seen = desk.http[who].get(desk.path).json()["data"]
    before = desk.http["chief"].get(f"{desk.path}/history").json()["items"][0]["data"]
    assert desk.send(who, "PUT", "/1", json={"data": seen}).status_code == 200
    assert desk.http["chief"].get(f"{desk.path}/history").json()["items"][0]["data"] == before


def _changing(method: str, path: str, of: Callable[[Any], Any]) -> Callable[[Desk, str, list[str]], None]:
    def change(desk: Desk, who: str, fields: list[str]) -> None:
        """Set fields: those only that are the caller's to set."""
        rules = [RULES[desk.name].get(field, {}) for field in fields]
        terms = [rule.get("write", rule.get("read")) for rule in rules]
        allowed = all(term is None or may(term, who, desk.owner) for term in terms)
        answer = desk.send(who, method, path, json=of(desk.data(*fields)), headers={"idempotency-key": f"k{next(_NUMBERS)}"})
        assert answer.status_code == (200 if allowed else 422), (who, fields, terms, answer.text)

    return change


puts = _changing("PUT", "/1", lambda data: {"data": data})
patches = _changing("PATCH", "/1", lambda data: data)
turns = _changing("POST", "/1/transitions/turn", lambda data: {"data": data})


def transacts(desk: Desk, who: str, fields: list[str]) -> None:
    """Change it with another one; come again with the key."""
    operations = [{"op": "patch", "namespace": desk.name, "key": "1", "data": desk.data(*fields)}]
    key = {"idempotency-key": f"t{next(_NUMBERS)}"}
    for _ in range(2):
        answer = desk.http[who].post("/v1/state/transactions", json={"operations": operations}, headers=key)
        desk.answers.append((who, "transaction", answer.text))


def restores(desk: Desk, who: str, _fields: list[str]) -> None:
    """Bring back the first version that had data."""
    desk.send(who, "POST", "/1/restore", json={"version": 2})


def hands_on(desk: Desk, who: str, fields: list[str]) -> None:
    """Delete it and make another one of the key."""
    if who != "nobody":
        assert desk.send(who, "DELETE", "/1").status_code == 204
        desk.owner = who
        made = desk.send(who, "PUT", "/1", json={"data": desk.data("title", *fields)})
        if made.status_code != 200:
            assert desk.send(who, "PUT", "/1", json={"data": {}}).status_code == 200


def watches(desk: Desk, who: str, _fields: list[str]) -> None:
    """Follow it until something comes."""
    for path in ("/1/watch", "/watch"):
        with desk.http[who].stream("GET", f"/v1/state/{desk.name}{path}") as stream:
            reader, told = ServerEventReader(), []
            for line in stream.iter_lines():
                if (event := reader.line(line)) is None:
                    continue
                told.append(str(event.data))
                if event.kind == "snapshot" and event.data.get("complete"):
                    desk.http["ada"].patch(desk.path, json={"title": f"title~ada~{next(_NUMBERS)}"})
                if event.kind == "change":
                    break
            desk.answers.append((who, f"watch {path}", " ".join(told)))
    for field in ("notes", "total"):
        rule = RULES[desk.name].get(field, {}).get("read")
        with desk.http[who].stream("GET", f"/v1/state/{desk.name}/watch", params={f"filter[{field}][gte]": "a"}) as answer:
            assert answer.status_code == (200 if rule is None or may(rule, who, "") else 422), (who, field, rule)


def over_grpc(desk: Desk, who: str, fields: list[str]) -> None:
    """Ask for everything over gRPC."""
    name, data = desk.name, json.dumps(desk.data(*fields)).encode()
    desk.rpc(who, "GetState", pb.GetStateRequest(keys=[pb.StateKey(namespace=name, key="1")]))
    desk.rpc(who, "GetStateVersion", pb.GetStateVersionRequest(namespace=name, key="1", version=2))
    desk.rpc(who, "ListStates", pb.ListStatesRequest(namespace=name))
    desk.rpc(who, "ListStates", pb.ListStatesRequest(namespace=name, sort="notes"))
    desk.rpc(who, "ListHistory", pb.ListHistoryRequest(namespace=name, key="1"))
    desk.rpc(who, "PatchState", pb.PatchStateRequest(namespace=name, key="1", patch=data))
    put = pb.PutStateRequest(namespace=name, key="1", data=data, idempotency_key=f"g{next(_NUMBERS)}")
    for _ in range(2):
        desk.rpc(who, "PutState", put)
    desk.rpc(who, "TransitionState", pb.TransitionStateRequest(namespace=name, key="1", event="turn", patch=data))
    one = pb.StateOperation(namespace=name, key="1", patch=pb.PatchOperation(patch=data))
    desk.rpc(who, "TransactStates", pb.TransactStatesRequest(operations=[one]))


def acts(desk: Desk, who: str, _fields: list[str]) -> None:
    """Have a handler look."""
    answer = desk.http[who].post("/v1/actions/veil.look", json=desk.name)
    assert answer.status_code == 200, answer.text
    desk.answers.append((who, "action", answer.text))


DOORS = (
    get, lists, looks_back, puts_back, puts, patches, turns, transacts, restores, hands_on, watches, over_grpc, acts,
)  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Give a platform of its own: what it declares changes what others find in the OpenAPI document."""
    folder = tmp_path_factory.mktemp("veil")
    (folder / "veil").mkdir()
    rules = {
        name: json.dumps({field: {kind: " or ".join(terms) for kind, terms in one.items()} for field, one in fields.items()})
        for name, fields in RULES.items()
    }
    states = "namespaces:\n" + "".join(NAMESPACE.format(name=name, fields=fields) for name, fields in rules.items())
    files = {"module.yaml": MODULE, "states.yaml": states, "actions.yaml": ACTIONS, "module.py": CODE}
    for file, text in files.items():
        (folder / "veil" / file).write_text(text, encoding="utf-8")
    wide = {"STYLOBATE_RATELIMIT_EDGE_IP": "1000000/second", "STYLOBATE_RATELIMIT_EDGE_USER": "1000000/second"}
    with Platform.run(folder / "run", modules=[folder / "veil"], environ=wide) as platform:
        people = {}
        for name in WORDS[:3]:
            people[name] = Person(platform.gateway, name)
            given = ["--role", "some"] if name == "bob" else ["--admin"] if name == "chief" else []
            sent = f"{PASSWORD}\n"
            made = platform.command("users", "create", people[name].email, *given, "--password-stdin", stdin=sent)
            assert made.returncode == 0, made.stdout + made.stderr
            people[name].login()
        with grpc.insecure_channel(platform.grpc["state"]) as channel:
            yield Desk(platform, people, StateServiceStub(channel))  # type: ignore[no-untyped-call,unused-ignore]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(DOORS), st.sampled_from(WORDS), st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True)
    ),
    min_size=3,
    max_size=8,
)


@settings(
    max_examples=25, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(sorted(RULES)), STEPS)
def test_nothing_hidden_leaves_by_any_door(desk: Desk, name: str, steps: list[tuple[Any, str, list[str]]]) -> None:
    """Whoever does what through which door hears of no field that is hidden from them, and of all that is not."""
    desk.begin(name)
    for door, who, fields in steps:
        door(desk, who, fields)
    desk.check()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_each_door_is_gone_through(desk: Desk, door: Any) -> None:
    """By everybody, so that no door depends on luck."""
    for name, who in zip(itertools.cycle(RULES), WORDS * 2, strict=False):
        desk.begin(name)
        door(desk, who, ["notes"])
        desk.check()
