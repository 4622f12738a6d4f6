"""The test kit against the platform: the same module, the same calls, the same answers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester
from stylobate.testing.platform import Platform

DESK = Path(__file__).parent / "modules" / "desk"
LONG = "more than nine characters"


class Step(NamedTuple):
    """A call of an action, or of a state object's event."""

    action: str
    given: Any = None
    is_known: bool = True


def on_ticket(op: str, key: str = "t", **members: Any) -> dict[str, Any]:
    """Return an operation of a transaction."""
    return {"op": op, "namespace": "tickets", "key": key, **members}


CASES: dict[str, list[Step]] = {
    "types both ways": [Step("echo", {"amount": "1.50", "after": "PT0.5S"})],
    "input": [Step("echo", {"amount": "x", "after": "PT1S"}), Step("echo", {}), Step("echo"), Step("open_up", 1)],
    "permission": [Step("open_up"), Step("open_up", None, is_known=False)],
    "limit": [Step("often")] * 6,
    "state": [
        Step("put", {"key": "a", "text": "hi"}),
        Step("put", {"key": "a", "text": LONG}),
        Step("put", {"key": "", "text": "x"}),
    ],
    "ephemeral": [
        Step("pad", what)
        for what in ("scribble", "get", "make", "get", "scribble", "get", "all", "full", "history", "together", "get")
    ],
    "owners": [Step("give", {"key": "b", "owner": "carl"}), Step("give", {"key": "c", "owner": "a b"})],
    "a list of operations": [
        Step("transact", operations)
        for operations in (
            [on_ticket("put", data={"text": "a"}, if_version=0), on_ticket("put", "u", data={"text": "b"})],
            [on_ticket("patch", data={"text": "c"}), on_ticket("transition", "u", event="close"), on_ticket("delete", "none")],
            [on_ticket("patch", data={"text": LONG})],
            [on_ticket("put", "u", data={"text": "b"}, status="open"), on_ticket("patch", data={"text": "c"}, if_version=7)],
            [on_ticket("transition", "u", event="close"), on_ticket("patch", data={"text": "c"}, if_version=1)],
            [on_ticket("delete"), on_ticket("restore", "u", version=1), on_ticket("assign", "v", owner="eve")],
            [on_ticket("delete"), on_ticket("restore", "u", version=1)],
            [on_ticket("assign", "u", owner="eve")],
            [on_ticket("put", "w", data={"text": "a"}), on_ticket("merge", data={})],
            [on_ticket("delete", data={})],
            [on_ticket("put")],
            [on_ticket("delete", if_version=-1)],
            [on_ticket("put", "w", data={"text": "a"}), on_ticket("delete", "w")],
            [on_ticket("put", f"w{n}", data={"text": "a"}) for n in range(51)],
            [on_ticket("delete", "w")],
            [],
            {},
            ["delete"],
        )
    ]
    + [Step("transact_wrong")],
    "defects": [Step("put_wrong"), Step("elsewhere"), Step("astray"), Step("fail"), Step("odd")],
    "channels": [Step("publish", "a"), Step("publish", "no such key"), Step("publish", "")],
    "calls": [Step("call", "desk.open_up"), Step("call", "desk.nothing"), Step("call", "desk.fail"), Step("call", "desk.refuse")],
    "refusals": [Step("refuse"), Step("not_there", None, is_known=False), Step("not_there")],
    "time": [Step("slow")],
    "no such action": [Step("nothing"), Step("")],
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Run the desk for real."""
    with Platform.run(tmp_path_factory.mktemp("kit"), modules=[DESK]) as running:
        yield running


@pytest_asyncio.fixture
async def tester() -> AsyncIterator[ActionTester]:
    """Run the desk in the kit."""
    async with ActionTester.open(DESK) as opened:
        yield opened


def seen(*, status: int, body: Any) -> Any:
    """Return what counts of an answer: the output, or status, reason, places and metadata of a refusal.

    The command that grants what is missing is the gateway's, for who develops with a platform that runs.
    """
    if status < 400:
        return body
    told = {name: value for name, value in body.get("metadata", {}).items() if name not in {"command", "exception", "reset"}}
    return status, body["code"], sorted(entry["pointer"] for entry in body.get("errors", ())), told


async def in_kit(tester: ActionTester, step: Step) -> Any:
    """Take the step in the kit."""
    user = tester.user("ada") if step.is_known else tester.anonymous
    try:
        return seen(status=200, body=await user.call(f"desk.{step.action}", step.given))
    except StylobateError as error:
        errors = [{"pointer": violation.pointer} for violation in error.violations]
        return seen(status=error.http_status, body={"code": error.reason, "errors": errors, "metadata": error.metadata})


def on_platform(person: Any, step: Step) -> Any:
    """Take the step over HTTP."""
    headers = {} if step.is_known else {"authorization": ""}
    answer = person.http.post(f"/v1/actions/desk.{step.action}", json=step.given, headers=headers)
    return seen(status=answer.status_code, body=answer.json())


@pytest.mark.parametrize("case", CASES)
async def test_the_kit_answers_as_the_platform_does(platform: Platform, tester: ActionTester, person: Any, case: str) -> None:
    """What is refused there is refused here, with the same reason, status and places."""
    ada = person()
    for step in CASES[case]:
        assert await in_kit(tester, step) == on_platform(ada, step), step


@pytest.mark.parametrize(
    ("action", "status"), [("fail", 500), ("fail_in_task", 500), ("interrupt_in_task", 500), ("fail_in_callback", 200)]
)
def test_nothing_that_a_handler_raises_ends_the_platform(platform: Platform, person: Any, action: str, status: int) -> None:
    """Neither itself nor by a task or callback of its own: its caller is answered, and so is the next."""
    ada = person()
    for _ in range(2):
        answer = ada.http.post(f"/v1/actions/desk.{action}")
        assert answer.status_code == status, answer.text
        if status == 500:
            assert answer.json()["code"] == "ACTION_FAILED"
        assert ada.http.post("/v1/actions/desk.echo", json={"amount": "1", "after": "PT1S"}).status_code == 200
    assert platform.is_running
