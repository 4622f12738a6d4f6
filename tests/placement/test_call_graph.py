"""Which service calls which: the channels that each `main.py` opens, held against what its spec says."""

import ast
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import stylobate
from stylobate.config import Settings
from stylobate.services import ENTRY_POINTS, Imported, ServiceSpec, event_sources, in_order, installed_services
from stylobate.testing.syntax import tree_of, trees_with

SERVICES = installed_services()


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
            opened |= {*event_sources()} if any(keyword.arg == "channel" for keyword in call.keywords) else set()
    handed_on = {
        id(keyword.value) for call in calls if getattr(call.func, "id", "") == "HooksManager" for keyword in call.keywords
    }
    known = handed_on | {id(call.func) for call in calls}
    for node in ast.walk(tree):
        is_value = isinstance(node, ast.Attribute) and node.attr == "channel" and ast.unparse(node.value) == "app"
        assert not is_value or id(node) in known, f"line {node.lineno}: whoever gets app.channel may call anyone"
    return opened


@pytest.mark.parametrize("service", SERVICES)
def test_the_channels_that_are_opened_are_those_that_the_spec_names(service):
    """A service opens channels to those that it needs and to no others, and only in its `main.py`."""
    main = _main_of(service)
    assert _channels(tree_of(main.read_text())) == set(SERVICES[service].needs)
    others = (file for file in main.parent.rglob("*.py") if file != main)
    for file, tree in trees_with(others, "channel"):
        assert not _channels(tree), f"{file} opens a channel"


def test_a_forbidden_channel_would_be_seen():
    """The reading itself finds literals, loops over literals, and refuses what it cannot read."""
    assert _channels(tree_of("app.channel('auth'); {n: app.channel(n) for n in ('state', 'actions')}")) == {
        "auth",
        "state",
        "actions",
    }
    with pytest.raises(AssertionError, match="cannot be read"):
        _channels(tree_of("app.channel(settings.target)"))
    with pytest.raises(AssertionError, match="may call anyone"):
        _channels(tree_of("Caller(app.channel)"))


@pytest.mark.parametrize("service", SERVICES)
def test_what_services_may_call_is_the_same_graph(service):
    """The methods that a spec names belong to services that it needs, or to auth, which every process asks."""
    spec = SERVICES[service]
    reached = {name.partition(".")[0] for name in spec.calls.own | spec.calls.through}
    if "events" in reached:
        assert {*event_sources()} & {*spec.needs}
        reached.discard("events")
    reached.discard("audit")  # every service that keeps records serves it
    assert reached <= {*spec.needs, "auth"}


def test_those_that_need_no_other_come_first():
    """Whoever is started in this order finds what it needs there, as far as two do not need each other."""
    specs = {
        name: ServiceSpec(name, Settings, Imported(""), needs=needs)
        for name, needs in {"a": ("b", "c"), "b": ("c",), "c": (), "d": ("a", "e"), "e": ("d",)}.items()
    }
    assert [spec.name for spec in in_order(specs)] == ["c", "b", "a", "e", "d"]


def _lists(tree: ast.AST, names: set[str]) -> list[int]:
    """Return the lines of literals of which at least two members, and half of them, are names of services."""
    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
                found = [part for part in parts if isinstance(part, ast.Constant) and part.value in names]
                if len(found) > 1 and 2 * len(found) >= len(parts):
                    lines.append(node.lineno)
    return lines


def test_the_library_lists_no_services():
    """A seventh service is installed, not entered anywhere."""
    library, names = Path(stylobate.__file__).parent, set(SERVICES)
    assert _lists(tree_of("A = ('state', 'auth'); B = {'auth': 1, 'state': 2}; C = ['state', 'x', 'y', 'auth', 'z']"), names) == [
        1,
        1,
    ]
    files = [file for file in library.rglob("*.py") if "api" not in file.relative_to(library).parts]
    trees = trees_with(files, *(f"{quote}{name}{quote}" for name in names for quote in "\"'"))
    assert {str(file.relative_to(library)): lines for file, tree in trees if (lines := _lists(tree, names))} == {}
