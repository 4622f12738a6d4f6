"""Every service looks alike inside: what its servicers, converters and managers may do, held against the code."""

import ast
import importlib
import inspect
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from stylobate.outbox import servicer as event_servicer
from stylobate.services import ENTRY_POINTS
from stylobate.testing.syntax import tree_of, trees_with

AMBIENT = {"call", "current_call", "sampled_trace"}
DOORS = {
    "actions/runner.py",  # begins what a module's code runs in
    "gateway/door.py",
    "realtime/command_queue.py",
}
"""Where a call begins or a gateway passes it on. Everything else gets what it needs of a call as arguments."""

SERVICES = {point.name: Path(find_spec(point.module).origin).parent for point in entry_points(group=ENTRY_POINTS)}
SERVICERS = [
    importlib.import_module(f"{root.name}.{path.stem}")
    for root in SERVICES.values()
    for path in sorted(root.glob("*servicer.py"))
]
CONVERTERS = [root / "convert.py" for root in SERVICES.values() if (root / "convert.py").exists()]


def test_something_is_looked_at():
    """Five services have servicers, some of them several, and four have something to convert."""
    assert (len({module.__package__ for module in SERVICERS}), len(CONVERTERS)) == (5, 4)


@pytest.mark.parametrize("module", [*SERVICERS, event_servicer], ids=lambda module: module.__name__)
def test_a_servicer_says_who_may_call_it(module):
    """``ACCESS`` stands in the class, and nowhere else."""
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    servicers = [kind for kind in found if kind.__name__.endswith("Servicer")]
    assert servicers
    for kind in servicers:
        methods = {name for base in kind.__bases__ for name in vars(base) if name[0].isupper()}
        assert kind.__dict__["ACCESS"].keys() == methods
    assert not [name for name in vars(module) if name.endswith("ACCESS")]


@pytest.mark.parametrize("path", CONVERTERS, ids=lambda path: path.parent.name)
def test_converters_are_called_to_and_from(path):
    """``to_<noun>`` gives a message, ``from_<noun>`` reads one."""
    functions = [node.name for node in tree_of(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert functions
    assert [name for name in functions if not name.lstrip("_").startswith(("to_", "from_"))] == []


def _looking(root: Path) -> list[Path]:
    """Return the files that import what looks at the call that is being served."""
    return [
        path
        for path, tree in trees_with(root.rglob("*.py"), "stylobate.rpc")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"stylobate.rpc", "stylobate.rpc.call"}
        if any(alias.name in AMBIENT for alias in node.names)
    ]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_managers_are_given_what_they_need(service):
    """Only servicers, and the doors where calls begin, look at the call that is being served."""
    root = SERVICES[service]
    looking = {f"{service}/{path.relative_to(root)}" for path in _looking(root)}
    assert {path for path in looking - DOORS if not path.endswith("servicer.py")} == set()


def test_no_event_looks_for_its_cause():
    """An event is told what it comes from."""
    assert _looking(Path(event_servicer.__file__).parent) == []
