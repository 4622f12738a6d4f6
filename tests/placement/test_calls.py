"""Calls look the same wherever the callee is: errors with all details, deadlines, identity, hooks called on the way."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from stylobate.launcher.demo import Journey
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import wait_until
from stylobate_gateway.reasons import known_reasons

from tests.people import Person

TEA = {"items": [{"sku": "tea", "quantity": 1}]}


async def test_journey_holds(platform):
    """Every step of the customer's journey holds."""
    journey = Journey(platform.gateway, platform.realtime)
    seen = {title: what async for title, what in journey.play()}
    assert len(seen) == 14
    assert "not judged" not in seen["limit order 31 within a minute"]


def test_a_handler_that_runs_out_of_time_leaves_nothing_half_done(person):
    """Between two changes of a transaction its time is up: neither happened; a transaction that ends is there whole."""
    ada = person()
    late = ada.act("probe.half", "late")
    assert (late.status_code, late.json()["code"]) == (504, "ACTION_TIMEOUT"), late.text
    assert ada.act("probe.both", "whole").json() == [1, 1]
    assert [item["key"] for item in ada.http.get("/v1/state/pairs").json()["items"]] == ["whole-left", "whole-right"]


def _paid_twice(ada: Person) -> httpx.Response:
    order = ada.order()
    ada.act("shop.pay_order", {"order_id": order})
    return ada.act("shop.pay_order", {"order_id": order})


def _stale(ada: Person) -> httpx.Response:
    return ada.http.post(f"/v1/state/orders/{ada.order()}/transitions/pay", headers={"if-match": '"7"'})


ERRORS: list[tuple[str, Callable[[Person], httpx.Response], int, dict]] = [
    (
        "a state machine, through a handler",
        _paid_twice,
        409,
        {
            "code": "STATE_TRANSITION_NOT_ALLOWED",
            "detail": "'pay' is not allowed while the status is 'paid'. Allowed now: ship, cancel.",
            "metadata": {"status": "paid", "event": "pay", "allowed": "ship,cancel"},
        },
    ),
    ("a version", _stale, 412, {"code": "STATE_VERSION_CONFLICT", "metadata": {"expected": "7", "actual": "1"}}),
    (
        "a schema of an action",
        lambda ada: ada.act("shop.place_order", {"items": [{"sku": "", "quantity": 0}]}),
        422,
        {"code": "ACTION_INPUT_INVALID", "pointers": ["/items/0/quantity", "/items/0/sku"]},
    ),
    (
        "a schema of state",
        lambda ada: ada.http.put("/v1/state/notes/wrong", json={"data": {"text": 5}}),
        422,
        {"code": "STATE_DATA_INVALID", "pointers": ["/data/text"]},
    ),
    (
        "a permission",
        lambda ada: ada.act("shop.ship_order", {"order_id": "none"}),
        403,
        {"code": "PERMISSION_DENIED", "metadata": {"permission": "orders:ship", "resource": "state/orders/none"}},
    ),
    ("nothing there", lambda ada: ada.act("shop.pay_order", {"order_id": "none"}), 404, {"code": "STATE_NOT_FOUND"}),
    (
        "a rule of the module",
        lambda ada: ada.act("probe.refuse"),
        409,
        {"code": "PROBE_CLOSED", "detail": "The probe is closed on Sundays.", "metadata": {"day": "Sunday", "number": "7"}},
    ),
    (
        "a before-hook",
        lambda ada: ada.http.put("/v1/state/notes/refused", json={"data": {"text": "no"}}),
        409,
        {"code": "NOTE_REFUSED", "detail": "No is not a note.", "metadata": {"word": "no"}},
    ),
    (
        "a before-hook, through a handler",
        lambda ada: ada.act("probe.note", {"text": "no"}),
        409,
        {"code": "NOTE_REFUSED", "detail": "No is not a note.", "metadata": {"word": "no"}},
    ),
    (
        "a defect",
        lambda ada: ada.act("probe.crash"),
        500,
        {
            "code": "ACTION_FAILED",
            "detail": "The action failed on our side.",
            "metadata": {"action": "probe.crash", "exception": "ZeroDivisionError: division by zero"},  # in development only
        },
    ),
    ("an answer that was not promised", lambda ada: ada.act("probe.junk"), 500, {"code": "ACTION_FAILED"}),
]


@pytest.mark.parametrize(("provoke", "status", "wanted"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_errors_keep_every_detail(person, provoke, status, wanted):
    """Code, sentence, metadata and pointers reach the client unchanged through every border on the way; its type is a page."""
    ada = person()
    answer = provoke(ada)
    problem = answer.json()
    page = ada.http.get(problem["type"])
    assert (page.status_code, f"<code>{problem['code']}</code>" in page.text) == (200, True)
    if status == 403:
        assert problem["metadata"].pop("command").startswith("stylobate access grant ")  # of the gateway's, in development only
    problem["pointers"] = sorted(entry["pointer"] for entry in problem.get("errors", []))
    assert (answer.status_code, {key: problem.get(key) for key in wanted}) == (status, wanted)
    assert "Traceback" not in answer.text


def test_every_reason_has_a_page(person):
    """Of every service, whichever process it runs in, and of every module."""
    ada = person()
    for reason in (*known_reasons(), "PROBE_CLOSED", "NOTE_REFUSED"):
        page = ada.http.get(f"/problems/{reason.lower().replace('_', '-')}")
        assert (page.status_code, f"<code>{reason}</code>" in page.text) == (200, True), reason


def test_action_is_cut_off_at_its_timeout(person):
    """A handler that never ends is cancelled at its own timeout."""
    answer = person().act("probe.wait")
    assert (answer.status_code, answer.json()["code"]) == (504, "ACTION_TIMEOUT")
    assert answer.json()["metadata"] == {"action": "probe.wait"}


def test_callee_has_no_more_time_than_its_caller(person):
    """An action that may take 20 s has only what is left of the 2 s of the action that called it; called alone, its own."""
    ada = person()
    assert 0 < ada.act("probe.hurry").json() <= 2
    assert 2 < ada.act("probe.budget").json() <= 20


def test_dawdling_before_hook_holds_nothing_up(person):
    """A before-hook past its 200 ms refuses the change; nothing was written."""
    ada = person()
    answer = ada.http.put("/v1/state/notes/slow", json={"data": {"text": "wait"}})
    assert (answer.status_code, answer.json()["code"]) == (503, "STATE_HOOK_UNAVAILABLE")
    assert answer.json()["metadata"] == {"module": "probe", "hook": "examine"}
    assert int(answer.headers["retry-after"]) >= 1
    assert ada.http.get("/v1/state/notes/slow").status_code == 404


def test_identity_goes_with_the_call(platform, person):
    """A handler sees the user and the service that passed the call on; nobody known is nobody; inner calls change nothing."""
    ada = person()
    seen = {"kind": "user", "id": ada.id, "via": "gateway", "subject": ada.id}
    assert ada.act("probe.who").json() == seen
    assert ada.act("probe.ask").json() == seen
    nobody = httpx.post(f"{platform.gateway}/v1/actions/probe.who", json={}, verify=NO_TLS)
    assert nobody.json() == {"kind": "anonymous", "id": "", "via": "gateway", "subject": ""}


def test_claimed_identity_counts_for_nothing(platform, person):
    """Headers that only services may send make no difference when a client sends them."""
    ada, eve = person(), person()
    order = ada.order()
    forged = {"stylobate-act-for": ada.id, "stylobate-service-token": ada.token, "x-stylobate-act-for": ada.id}
    assert eve.http.get(f"/v1/state/orders/{order}", headers=forged).status_code == 404
    assert httpx.post(f"{platform.gateway}/v1/actions/probe.who", headers=forged, verify=NO_TLS).json()["kind"] == "anonymous"


def test_owner_and_rights_hold_through_handlers(person):
    """What a handler writes belongs to its caller; a namespace that only handlers may create in refuses the client itself."""
    ada, eve = person(), person()
    key = ada.act("probe.note", {"text": "hello"}).json()
    assert ada.http.get(f"/v1/state/notes/{key}").json()["data"] == {"text": "hello", "by": ada.id}
    assert eve.http.get(f"/v1/state/notes/{key}").status_code == 404
    refused = ada.http.put("/v1/state/orders/mine", json={"data": {"items": TEA["items"], "total": 1}})
    assert (refused.status_code, refused.json()["code"]) == (403, "PERMISSION_DENIED")


def test_request_id_is_logged_by_whoever_had_part(platform, person):
    """The client's request id stands in the log of the service that failed, in whatever process it runs."""
    name = f"trace-{person().id}"
    answer = person().http.post("/v1/actions/probe.crash", json={}, headers={"x-request-id": name})
    assert answer.json()["request_id"] == name

    def told() -> bool:
        lines = [line for file in platform.log_files() for line in file.read_text().splitlines()]
        return any(name in line and "action_failed" in line for line in lines)

    assert wait_until(told, timedelta(seconds=30))
