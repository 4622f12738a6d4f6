"""Every reason that an HTTP answer may carry is explained to clients, and every answer of an error is made in one place."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from stylobate.rpc import from_rpc_error
from stylobate.testing.syntax import tree_of, trees_with
from stylobate_gateway.reasons import known_reasons

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in (ROOT / "libs/common/stylobate", *ROOT.glob("services/*/stylobate_*"))
    for path in folder.rglob("*.py")
    if not {"api", "testing"} & set(path.relative_to(folder).parts)
)
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def reasons_in(tree: ast.Module) -> Iterator[str]:
    """Yield the reasons that code names: of classes, of errors built by hand, and as the code of a document built by hand."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                given = [value]
            case ast.Call(keywords=keywords):
                given = [keyword.value for keyword in keywords if keyword.arg == "reason"]
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                given = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code"]
            case _:
                continue
        yield from (value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str))


def test_the_collector_sees_each_way_of_naming_a_reason() -> None:
    """A class, an error made by hand, a document made by hand."""
    source = 'class A:\n    reason = "OF_A_CLASS"\nof(reason="BY_HAND")\n{"code": "IN_A_DOCUMENT"}'
    assert set(reasons_in(tree_of(source))) == {"OF_A_CLASS", "BY_HAND", "IN_A_DOCUMENT"}


def test_every_reason_that_the_code_names_is_on_the_page_of_errors_and_has_a_page_of_its_own() -> None:
    """And the other way round: nothing is explained that no code names."""
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
    trees = trees_with(SOURCES, "reason", '"code"', "'code'")
    named = {found for _, tree in trees for found in reasons_in(tree) if REASON.fullmatch(found)}
    assert named == set(rows) == set(known_reasons())
    assert len(rows) == len(set(rows))


def test_a_gateway_knows_every_status_of_the_page() -> None:
    """Alone in its process, without the classes of the services behind: the reason and the gRPC code are all that crosses."""
    page = re.findall(
        r"^\| `([A-Z_0-9]+)` \| (\d+) \| ([A-Z_]+) \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE
    )
    script = """
import json, sys, grpc, stylobate_gateway.main
from stylobate.errors import http_status_of
print(json.dumps([http_status_of(reason, grpc.StatusCode[code]) for reason, _, code in json.loads(sys.argv[1])]))
"""
    told = subprocess.run([sys.executable, "-c", script, json.dumps(page)], capture_output=True, check=True, timeout=60).stdout
    assert {reason: int(status) for reason, status, _ in page} == dict(
        zip((reason for reason, _, _ in page), json.loads(told), strict=True)
    )


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_call_that_ends_without_a_reason_gets_a_known_one(code: grpc.StatusCode) -> None:
    """Whatever a transport or a foreign server ends a call with."""
    failed = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "")
    assert from_rpc_error(failed).reason in known_reasons()


def test_one_place_makes_problems() -> None:
    """The media type of a problem stands where problems are made, and is taken from there everywhere else."""
    found = {
        path.relative_to(ROOT)
        for path, tree in trees_with(SOURCES, "problem+json")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in ("application/problem+json", b"application/problem+json")
    }
    assert found == {Path("libs/common/stylobate/http/problem.py")}


def test_one_place_writes_the_fields_of_limits() -> None:
    """Nobody else puts the numbers of a limit into text, nor a time into Retry-After."""
    constants = [
        (path.name, node.value)
        for path, tree in trees_with(SOURCES, ";q=", ";r=", ";w=", ";t=", "retry-after")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    ]
    assert {name for name, value in constants if value in ('";q=', '";r=', ";w=", ";t=")} == {"asgi.py"}
    assert {name for name, value in constants if value == b"retry-after"} == {"problem.py"}
