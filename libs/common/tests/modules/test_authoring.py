"""What authors use: errors, ``on``, payloads."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest
from pydantic import BaseModel
from stylobate.errors import StylobateError
from stylobate.modules import ActionContext, Event, HookContext, RefusedError, on
from stylobate.modules import BaseModule as Module
from stylobate.modules.events import subscriptions_of
from stylobate.modules.payload import encode
from stylobate.modules.signature import check_hook
from stylobate.rpc.status import from_status, to_status
from stylobate.services import installed_services


class SoldOutError(RefusedError):
    """For the test of subclassing."""

    reason = "SOLD_OUT_IN_TEST"
    default_detail = "Nothing is left."


def test_a_refusal_carries_the_authors_own_reason() -> None:
    """By argument or by subclass; over HTTP it is a conflict."""
    by_argument = RefusedError("CART_EMPTY", "There is nothing in the cart.")
    by_class = SoldOutError()
    assert (by_argument.reason, by_argument.detail, by_argument.http_status) == (
        "CART_EMPTY",
        "There is nothing in the cart.",
        409,
    )
    assert (by_class.reason, by_class.detail, by_class.http_status) == ("SOLD_OUT_IN_TEST", "Nothing is left.", 409)
    assert isinstance(by_class, StylobateError)


@pytest.mark.parametrize("reason", ["cart_empty", "CART EMPTY", "_CART", "Cart"])
def test_a_reason_in_another_form_is_a_defect(reason: str) -> None:
    """Clients match on reasons, so a sloppy one is noticed in the author's first test."""
    with pytest.raises(ValueError, match="upper snake case"):
        RefusedError(reason, "…")


def test_on_keeps_every_subscription_of_a_method() -> None:
    """A method may listen to several types of events."""

    @on("state.orders.created", priority=5)
    @on("auth.user.registered", delivery="each")
    async def hook(self: object, ctx: object, event: object) -> None: ...

    found = {(s.pattern, s.delivery, s.priority) for s in subscriptions_of(hook)}
    assert found == {("state.orders.created", "one", 5), ("auth.user.registered", "each", 10)}


@pytest.mark.parametrize(("pattern", "error"), [("billing.paid", ValueError), ("state..x", StylobateError), ("", StylobateError)])
def test_on_refuses_patterns_that_can_never_match(pattern: str, error: type[Exception]) -> None:
    """A mistyped event type fails at import, not silently forever."""
    with pytest.raises(error):
        on(pattern)


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    colour: Colour


@dataclass
class Row:
    id: UUID
    at: datetime
    model: Model


def test_whatever_has_a_json_form_leaves_in_it() -> None:
    """Dataclasses, models, UUIDs, datetimes and enums are encoded wherever they stand."""
    row = Row(UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC), Model(colour=Colour.RED))
    assert encode([row]) == (
        b'[{"id":"00000000-0000-0000-0000-000000000001","at":"2030-01-01T00:00:00+00:00","model":{"colour":"red"}}]'
    )


@pytest.mark.parametrize("value", [object(), 2**70, {"f": print}])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    """Nothing is turned into text behind the author's back."""
    with pytest.raises(TypeError):
        encode(value)


RECORDED = {
    "auth.account.change",
    "auth.api_key.change",
    "auth.api_key.create",
    "auth.api_key.revoke",
    "auth.api_key.rotate",
    "auth.signing_key.rotate",
    "auth.token.issue",
    "auth.token.revoke",
    "auth.email.change",
    "auth.email.changed",
    "auth.email.verification",
    "auth.email.verify",
    "auth.password.change",
    "auth.password.forgot",
    "auth.password.reset",
    "auth.grant.expire",
    "auth.grant.give",
    "auth.grant.remove",
    "auth.role.assign",
    "auth.role.delete",
    "auth.role.expire",
    "auth.role.remove",
    "auth.service_account.create",
    "auth.first_admin.create",
    "auth.first_admin.invite",
    "auth.password.set",
    "auth.service_account.delete",
    "auth.session.revoke",
    "auth.user.delete",
    "auth.user.disable",
    "auth.user.enable",
    "auth.user.export",
    "auth.user.end_sessions",
}
"""What audit records of auth are called: no event has these names."""


def test_every_event_of_auth_may_be_listened_to() -> None:
    """The types that hooks are checked against are those that the service writes."""
    source = Path(__file__).parents[4] / "services" / "auth" / "stylobate_auth"
    written = {
        name
        for file in source.rglob("*.py")
        if file.name != "spec.py"
        for name in re.findall(r'"(auth\.[a-z_]+\.[a-z_]+)"', file.read_text())
    }
    assert written - RECORDED == set(installed_services()["auth"].events)
    assert written >= RECORDED


@pytest.mark.parametrize("status", [401, 403, 404, 409, 410, 412, 422, 429, 503])
def test_a_refusal_has_the_status_of_the_authors_choosing(status: int) -> None:
    """By class and by argument, also after it crossed a border."""

    class ChosenError(RefusedError, status=status):
        reason = f"CHOSEN_{status}"

    class MoreError(ChosenError):
        reason = f"CHOSEN_MORE_{status}"

    for error in (ChosenError(), MoreError(), RefusedError("CHOSEN_HERE", status=status)):
        crossed = from_status(to_status(error))
        assert crossed is not None
        assert (error.http_status, crossed.http_status, crossed.reason) == (status, status, error.reason)


@pytest.mark.parametrize("status", [200, 400, 402, 418, 500])
def test_a_status_that_no_border_carries_is_a_defect(status: int) -> None:
    """It is noticed where it is written."""
    with pytest.raises(ValueError, match="one of 401"):
        RefusedError("CHOSEN_HERE", status=status)
    with pytest.raises(ValueError, match="one of 401"):
        type("OddError", (RefusedError,), {"reason": "ODD"}, status=status)
    with pytest.raises(ValueError, match="upper snake case"):
        type("OddError", (RefusedError,), {"reason": "odd"})


class _Speaks(Protocol):
    """What a hook may ask for."""

    async def publish(self, channel: str, data: Any) -> None: ...


class _Hooks(Module):
    async def bare(self, ctx, event): ...

    async def any_(self, ctx: Any, event: Any) -> None: ...

    async def object_(self, ctx: object, event: object) -> None: ...

    async def narrow(self, ctx: _Speaks, event: Event) -> None: ...

    async def either(self, ctx: HookContext | ActionContext, event: "Event") -> None: ...


@pytest.mark.parametrize("name", ["bare", "any_", "object_", "narrow", "either"])
def test_annotations_that_hold_are_no_finding(name: str) -> None:
    """Who annotates nothing, widely, or with a protocol of their own is let be."""
    check_hook(_Hooks, name)
