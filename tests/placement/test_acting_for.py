"""Whoever works for a subject works in the subject's tenant: wherever the one is set, so is the other."""

import ast
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import stylobate
from hypothesis import given
from hypothesis import strategies as st
from stylobate.identity import DEFAULT_TENANT
from stylobate.outbox import Event
from stylobate.rpc import Call
from stylobate.rpc.caller import outgoing
from stylobate.rpc.interceptors.identity import set_service, take_metadata, take_over
from stylobate.services import installed_services
from stylobate.testing.syntax import tree_of, trees_with
from stylobate_actions.hook_runner import HookRunner

TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
SUBJECTS = TEXTS.filter(lambda text: not text.startswith("service:"))
PACKAGES = [
    Path(stylobate.__file__).parent,
    *(Path(find_spec(f"stylobate_{name}").origin).parent for name in installed_services()),
]
"""Every package whose code may act for somebody."""


def _received(call: Call, service: str) -> Call:
    """Return the call as the next service finds it, after its metadata went over the wire."""
    found = Call(metadata=dict(outgoing(None, call)))
    set_service(found, service, take_metadata(found, is_door=False))
    beside = Call()  # and as one of the same process does, without any
    set_service(beside, service, take_over(beside, call, is_door=False))
    assert (beside.principal, beside.act_for, beside.act_for_tenant) == (found.principal, found.act_for, found.act_for_tenant)
    return found


@given(SUBJECTS, TEXTS, st.integers(1, 4))
def test_subject_and_tenant_arrive_together(subject: str, tenant: str, hops: int) -> None:
    """However many services pass work on, each one works for the subject in its tenant."""
    found = Call(act_for=subject, act_for_tenant=tenant)
    for _ in range(hops):
        found = _received(found, "actions")
        assert (found.principal.subject, found.principal.tenant) == (subject, tenant)
        assert (found.act_for, found.act_for_tenant) == (subject, tenant)


@given(SUBJECTS, TEXTS)
def test_a_hook_works_in_the_tenant_of_its_event(subject: str, tenant: str) -> None:
    """What happened to a subject is handled, and what the handler calls is done, for it and in its tenant."""
    runner = HookRunner.__new__(HookRunner)
    runner._service = "actions"
    event = Event("1", "state", "state.orders.created", "1", datetime.now(UTC), tenant, b"{}", subject)
    call = cast("Any", runner)._call(event, "shop", Call(), 0.0)
    assert (call.principal.subject, call.principal.tenant) == (subject, tenant)
    there = _received(call, "actions")
    assert (there.principal.subject, there.principal.tenant) == (subject, tenant)


def test_without_a_tenant_it_is_the_default_one() -> None:
    """A caller of an earlier release names none."""
    assert _received(Call(act_for="7"), "actions").principal.tenant == DEFAULT_TENANT


def _untold(tree: ast.AST) -> list[int]:
    """Return the lines of functions that set whom is acted for, by name or as metadata, and no tenant."""
    lines = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.unparse(function)
        named = {node.arg for node in ast.walk(function) if isinstance(node, ast.keyword)}
        stored = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
        sets = "act_for" in named | stored or "(ACT_FOR," in text
        tells = {"act_for_tenant", "tenant"} & (named | stored) or "(ACT_FOR_TENANT," in text
        lines += [function.lineno] if sets and not tells else []
    return lines


def test_the_reading_finds_what_forgets_the_tenant() -> None:
    """The structural test below would see each way of setting whom is acted for."""
    for forgetful in ("Call(act_for=x)", "call.act_for = x", "pairs.append((ACT_FOR, x))"):
        assert _untold(tree_of(f"def f():\n    {forgetful}")) == [1], forgetful
    assert _untold(tree_of("def f():\n    Call(act_for=x, act_for_tenant=y)")) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_nobody_acts_for_a_subject_without_its_tenant(package: Path) -> None:
    """Of all code that sets whom a service acts for, none leaves the tenant to chance."""
    files = (file for file in package.rglob("*.py") if "api" not in file.relative_to(package).parts)
    trees = trees_with(files, "act_for", "ACT_FOR")
    assert {str(file.relative_to(package)): lines for file, tree in trees if (lines := _untold(tree))} == {}
