"""Which service calls which: the channels that each `main.py` opens, held against what is allowed."""

import ast
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from stylobate.app.spec import ENTRY_POINTS
from stylobate.identity import SERVICE_RIGHTS
from stylobate.modules.events import SOURCES

SERVICES = {"auth", "ratelimit", "state", "actions", "realtime", "gateway"}
ALLOWED = {
    "gateway": SERVICES - {"gateway"},
    "realtime": {"ratelimit", "state", "actions"},
    "actions": {"auth", "ratelimit", "state", "realtime"},
    "state": {"actions"},
    "auth": {"actions", "ratelimit"},
    "ratelimit": set(),
}
"""Beside what every process asks of auth by `stylobate.identity`: keys, revocations, access."""


def _main_of(service: str) -> Path:
    (point,) = entry_points(group=ENTRY_POINTS, name=service)
    return Path(find_spec(point.module).origin).with_name("main.py")


def _literals(node: ast.AST, names: dict[str, ast.expr]) -> set[str] | None:
    """Return the texts that an argument can be, following a loop over a literal; None when that cannot be seen."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.Name(id=name) if name in names:
            return _literals(names[name], names)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            found = [_literals(part, names) for part in parts]
            return None if None in found else set().union(*found)
    return None


def _channels(tree: ast.AST) -> set[str]:
    """Return the services that ``app.channel(...)`` is called with; fails for one that cannot be read from the text."""
    loops = {
        inner.target.id: inner.iter
        for inner in ast.walk(tree)
        if isinstance(inner, ast.comprehension | ast.For) and isinstance(inner.target, ast.Name)
    }
    constants = {
        statement.targets[0].id: statement.value
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    opened: set[str] = set()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "channel":
            services = _literals(call.args[0], constants | loops)
            assert services is not None, f"line {call.lineno}: which service is called cannot be read"
            opened |= services
        elif isinstance(call.func, ast.Name) and call.func.id == "HooksManager":
            opened |= {*SOURCES} if any(keyword.arg == "channel" for keyword in call.keywords) else set()
    handed_on = {
        id(keyword.value) for call in calls if getattr(call.func, "id", "") == "HooksManager" for keyword in call.keywords
    }
    known = handed_on | {id(call.func) for call in calls}
    for node in ast.walk(tree):
        is_value = isinstance(node, ast.Attribute) and node.attr == "channel" and ast.unparse(node.value) == "app"
        assert not is_value or id(node) in known, f"line {node.lineno}: whoever gets app.channel may call anyone"
    return opened


def test_every_service_is_looked_at():
    """The services installed are the ones that the allowed calls speak of."""
    assert {point.name for point in entry_points(group=ENTRY_POINTS)} == SERVICES == set(ALLOWED)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_only_allowed_channels_are_opened(service):
    """A service opens channels to those it may call and to no others, and only in its `main.py`."""
    main = _main_of(service)
    opened = _channels(ast.parse(main.read_text()))
    assert opened <= ALLOWED[service]
    for file in main.parent.rglob("*.py"):
        if file != main:
            assert not _channels(ast.parse(file.read_text())), f"{file} opens a channel"


def test_a_forbidden_channel_would_be_seen():
    """The reading itself finds literals, loops over literals, and refuses what it cannot read."""
    assert _channels(ast.parse("app.channel('auth'); {n: app.channel(n) for n in ('state', 'actions')}")) == {
        "auth",
        "state",
        "actions",
    }
    with pytest.raises(AssertionError, match="cannot be read"):
        _channels(ast.parse("app.channel(settings.target)"))
    with pytest.raises(AssertionError, match="may call anyone"):
        _channels(ast.parse("Caller(app.channel)"))


def test_what_services_may_call_is_the_same_graph():
    """The rights that each receiver holds services to reach along the allowed calls only."""
    owners = {"auth", "state"}  # of event logs
    for service, rights in SERVICE_RIGHTS.items():
        reached = {name.partition(".")[0] for name in rights.own | rights.through}
        if "events" in reached:
            assert service == "cli" or owners & ALLOWED[service]  # the operator may read every log
            reached.discard("events")
        assert reached <= ALLOWED.get(service, {"auth"}) | {"auth"}, service
