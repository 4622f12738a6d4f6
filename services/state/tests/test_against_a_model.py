"""Whatever is asked, by two owners through two processes: answers and what stands there are those of a few lines of Python."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess, NamespaceDeclaration, TransitionDeclaration
from stylobate.errors import StylobateError
from stylobate.ids import new_id
from stylobate.strict_json import loads
from stylobate_state.errors import StateDataInvalidError, StateTransitionNotAllowedError
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.operation import Assign, Delete, Operation, Patch, Put, Transition
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment

from .samples import ADA, BOB

EVERYBODY, OWNER = AccessRule(("authenticated",)), AccessRule(("owner",))
PAPERS = NamespaceDeclaration(
    name="papers",
    module="office",
    schema={"type": "object", "additionalProperties": {"type": "integer", "maximum": 3}},
    initial="draft",
    statuses=("draft", "filed"),
    access=NamespaceAccess(read=OWNER, list=OWNER, create=EVERYBODY, write=OWNER, delete=OWNER, assign=OWNER),
    transitions={
        "file": TransitionDeclaration("file", ("draft",), "filed", OWNER),
        "take_back": TransitionDeclaration("take_back", ("filed",), "draft", OWNER),
    },
)
PEOPLE = {"ada": ADA, "bob": BOB}
OPERATIONS: dict[str, Callable[["Step"], Operation]] = {
    "put": lambda step: Put(b'{"%s": %d}' % (step.member.encode(), step.number)),
    "patch": lambda step: Patch(b'{"%s": %d}' % (step.member.encode(), step.number)),
    "file": lambda _: Transition("file"),
    "take_back": lambda _: Transition("take_back"),
    "delete": lambda _: Delete(),
    "assign": lambda step: Assign(step.heir),
}


@dataclass(frozen=True)
class Step:
    """What one caller asks for: ``says`` is the version that it names, seen from the one that stands there."""

    process: int
    caller: str
    key: str
    verb: str
    says: str
    member: str
    number: int
    heir: str


@dataclass
class Paper:
    """What is to stand at a key; ``owner`` is empty where nothing is alive."""

    version: int = 0
    owner: str = ""
    status: str = "draft"
    data: dict[str, int] = field(default_factory=dict)

    def expected(self, says: str) -> int | None:
        """Return the version that a caller names."""
        present = self.version if self.owner else 0
        return {"nothing": None, "present": present, "earlier": max(present - 1, 0), "none": 0}[says]

    def after(self, step: Step) -> "Paper":
        """Return what is to stand there then. Raises what the caller is to be told."""
        expected = self.expected(step.says)
        if self.owner != step.caller and (self.owner or step.verb != "put"):
            raise StateNotFoundError("papers", step.key)
        if expected not in {None, self.version if self.owner else 0}:
            raise StateVersionConflictError("papers", step.key, expected=expected, actual=self.version)
        version, changed = self.version + 1, {step.member: step.number}
        if step.verb in {"put", "patch"} and step.number > 3:
            raise StateDataInvalidError.at("", "is too much")
        match step.verb:
            case "put" if not self.owner:
                return Paper(version, step.caller, "draft", changed)
            case "put":
                return replace(self, version=version, data=changed)
            case "patch":
                return replace(self, version=version, data=self.data | changed)
            case "delete":
                return Paper(version)
            case "assign":
                return replace(self, version=version, owner=step.heir)
        source, target = ("draft", "filed") if step.verb == "file" else ("filed", "draft")
        if self.status != source:
            raise StateTransitionNotAllowedError(event=step.verb, status=self.status, allowed=[])
        return replace(self, version=version, status=target)


STEPS = st.builds(
    Step,
    process=st.integers(0, 1),
    caller=st.sampled_from(["ada", "ada", "bob"]),
    key=st.sampled_from("xy"),
    verb=st.sampled_from(["put", "put", "patch", "patch", "file", "take_back", "delete", "assign"]),
    says=st.sampled_from(["nothing", "nothing", "present", "earlier", "none"]),
    member=st.sampled_from("mn"),
    number=st.sampled_from([0, 1, 2, 3, 4]),
    heir=st.sampled_from(["ada", "bob"]),
)
ROUNDS = count()


@pytest.fixture
async def processes(open_store):
    """Give two managers, as two processes have them, and the store of the first."""
    async with AsyncExitStack() as stack:
        stores = [await open_store() for _ in range(2)]
        managers = []
        for store in stores:
            environment = Environment(store, AccessEvaluator(None), None, lambda _: None, lambda: datetime.now(UTC), new_id)
            opened = StateManager.open({"papers": PAPERS}, environment, max_data_bytes=999)
            managers.append(await stack.enter_async_context(opened))
        yield managers, stores[0]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(STEPS, min_size=1, max_size=2, unique_by=lambda step: step.key), min_size=12, max_size=30))
async def test_answers_are_those_of_a_model(processes, walk):
    """Each change alone, or two of one caller as a transaction, through either process: what is said, what stands, what was."""
    managers, store = processes
    mark = next(ROUNDS)
    papers = {"x": Paper(), "y": Paper()}
    for steps in walk:
        first, before = steps[0], dict(papers)
        together = [replace(step, caller=first.caller) for step in steps]
        due: type[StylobateError] | None = None
        try:
            for step in together:
                papers[step.key] = papers[step.key].after(step)
        except StylobateError as refused:
            papers, due = before, type(refused)
        asked = [
            Asked("papers", f"{mark}{step.key}", OPERATIONS[step.verb](step), before[step.key].expected(step.says))
            for step in together
        ]
        told: Any = None
        try:
            await _ask(managers[first.process], PEOPLE[first.caller], asked)
        except StylobateError as refused:
            told = type(refused)
        assert told is due, together
    keys = {name: StateKey("default", "papers", f"{mark}{name}") for name in papers}
    found = await store.read(list(keys.values()))
    for name, paper in papers.items():
        state = found.get(keys[name])
        assert (state.version if state else 0) == paper.version
        if paper.owner:
            assert (state.owner, state.status, loads(state.data)) == (paper.owner, paper.status, paper.data)
        else:
            assert state is None or state.is_deleted
        history = await store.list_history(HistoryQuery(keys[name], 100))
        assert [entry.version for entry in reversed(history.items)] == list(range(1, paper.version + 1))


async def _ask(manager, caller, asked):
    if len(asked) == 1:
        (one,) = asked
        return await manager.change(caller, one.namespace, one.key, one.operation, expected=one.expected)
    return await manager.transact(caller, asked)
