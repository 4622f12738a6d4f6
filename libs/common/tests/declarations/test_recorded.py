"""Changes of a schema that leave stored objects behind, found by the record of what it was."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.declarations.model import ModuleDeclaration, NamespaceDeclaration
from stylobate.declarations.narrowing import narrowings
from stylobate.declarations.recorded import FILE, check_recorded, record

ORDER = {
    "type": "object",
    "required": ["total"],
    "additionalProperties": False,
    "properties": {
        "total": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 100},
        "size": {"enum": ["s", "m"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/shop.Line"}},
    },
    "$defs": {"shop.Line": {"type": "object", "properties": {"sku": {"type": "string"}}}},
}


def changed(path: str, value: object) -> dict[str, object]:
    """Return the schema with something else at a path; None: without it."""
    schema = json.loads(json.dumps(ORDER))
    *steps, last = path.split("/")
    at = schema
    for step in steps:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return schema


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("required", ["total", "note"], "/note is required now"),
        ("properties/note", None, "/note is not known any more"),
        ("properties/total/type", "string", "/total is not integer any more"),
        ("properties/total/minimum", 2, "/total has `minimum: 2` now"),
        ("properties/note/maxLength", 99, "/note has `maxLength: 99` now"),
        ("properties/note/pattern", "^a", "/note has another `pattern`"),
        ("properties/size/enum", ["s", "l"], '/size does not take "m" any more'),
        ("properties/note/enum", ["a"], '/note takes only "a" now'),
        ("$defs/shop.Line/required", ["sku"], "/lines/*/sku is required now"),
        ("$defs/shop.Line/additionalProperties", False, "/lines/* takes no members any more that are not named"),
        ("$defs/shop.Line/additionalProperties", {"type": "string"}, "/lines/*/* is string now"),
        ("properties/lines/items", False, "/lines/* is not taken any more"),
        ("properties/lines/uniqueItems", True, "/lines has `uniqueItems` now"),
        ("oneOf", [{}], " has another `oneOf`"),
        ("anyOf", [{"required": ["note"]}], " has another `anyOf`"),
    ],
)
def test_what_stored_data_may_not_fit_is_told(path: str, value: object, said: str) -> None:
    """One finding for one change, at its place in the data."""
    assert [f"{found.pointer} {found.problem}" for found in narrowings(ORDER, changed(path, value))] == [said]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("required", []),
        ("additionalProperties", True),
        ("properties/new", {"type": "string"}),
        ("properties/total/type", "number"),
        ("properties/total/type", ["integer", "null"]),
        ("properties/total/minimum", 0),
        ("properties/note/maxLength", None),
        ("properties/note/description", "says more"),
        ("properties/size/enum", ["s", "m", "l"]),
        ("properties/size", True),
        ("$defs/shop.Line/properties/sku", {}),
    ],
)
def test_what_only_takes_more_is_no_finding(path: str, value: object) -> None:
    """A schema may become wider at any time."""
    assert list(narrowings(ORDER, changed(path, value))) == []


def test_schemas_that_refer_to_themselves_come_to_an_end() -> None:
    """Each pair is compared once, however many ways lead there."""
    names = [f"n{number}" for number in range(20)]
    tree = {"type": "object", "properties": {name: {"$ref": "#/$defs/m.T"} for name in names}}
    old = {"$ref": "#/$defs/m.T", "$defs": {"m.T": tree}}
    new = {"$ref": "#/$defs/m.T", "$defs": {"m.T": tree | {"required": ["n3"]}}}
    assert [(found.pointer, found.problem) for found in narrowings(old, new)] == [("/n3", "is required now")]


_LEAF = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["integer", "number", "string", "boolean", ["integer", "string"]]),
        "minimum": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "enum": st.lists(st.sampled_from([0, 1, "a", True, None]), min_size=1, max_size=3, unique_by=repr),
    },
)
_NAMES = ["a", "b", "c"]
_SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from(_NAMES), _LEAF)},
    optional={
        "required": st.lists(st.sampled_from(_NAMES), unique=True),
        "additionalProperties": st.one_of(st.booleans(), _LEAF),
    },
)
_DATA = st.dictionaries(st.sampled_from(_NAMES), st.sampled_from([0, 1, 2, 0.5, "", "a", "abc", True, False, None]))


@given(_SCHEMAS, _SCHEMAS, st.lists(_DATA, max_size=20))
def test_silence_means_that_stored_data_fits(old: dict[str, object], new: dict[str, object], stored: list[object]) -> None:
    """Whatever the old schema took, the new one takes, where nothing is told; but for members that were not named."""
    if not list(narrowings(old, new)):
        named = old["properties"]
        assert isinstance(named, dict)
        for data in stored:
            assert isinstance(data, dict)
            if data.keys() <= named.keys() and jsonschema_rs.is_valid(old, data):
                assert jsonschema_rs.is_valid(new, data)


@pytest.fixture
def module(tmp_path: Path) -> ModuleDeclaration:
    """Give a module with a namespace, recorded."""
    orders = NamespaceDeclaration("orders", "shop", schema=ORDER, statuses=("paid", "pending"), file="shop/states.yaml", line=2)
    found = ModuleDeclaration("shop", tmp_path, namespaces=(orders,))
    assert check_recorded(found) == []
    assert record(found) == tmp_path / FILE
    return found


def findings(module: ModuleDeclaration, **changes: object) -> list[str]:
    """Return what is found once the namespace is declared in another way."""
    return list(map(str, check_recorded(replace(module, namespaces=(replace(module.namespaces[0], **changes),)))))  # type: ignore[arg-type]


def test_the_record_is_what_changes_are_held_to(module: ModuleDeclaration) -> None:
    """What may break is told with file and line, until the version is raised, or the change is recorded."""
    assert check_recorded(module) == []
    narrower = changed("required", ["total", "note"])
    (finding,) = findings(module, schema=narrower)
    assert finding.startswith("shop/states.yaml:2: stored objects may break: `/note` is required now (namespace orders); raise")
    assert findings(module, schema=narrower, schema_version=2) == []
    later = replace(module, namespaces=(replace(module.namespaces[0], schema=narrower),))
    record(later)
    assert check_recorded(later) == []
    assert check_recorded(module) == []


def test_statuses_versions_and_namespaces_that_go_are_told(module: ModuleDeclaration) -> None:
    """No upgrade leads out of a status; a version goes up only; objects of a namespace that is gone are still there."""
    assert "`paid` is not a status any more" in findings(module, statuses=("pending",), schema_version=2)[0]
    record(replace(module, namespaces=(replace(module.namespaces[0], schema_version=2),)))
    assert "went back from 2 to 1" in findings(module)[0]
    (gone,) = check_recorded(replace(module, namespaces=()))
    assert (gone.severity, gone.file) == ("warning", str(module.folder / FILE))


@pytest.mark.parametrize("text", ["{", "[]", '{"orders": {"schema_version": "x"}}', '{"orders": {"more": 1}}'])
def test_a_record_that_cannot_be_read_is_a_finding(module: ModuleDeclaration, text: str) -> None:
    """It is never taken for none."""
    (module.folder / FILE).write_text(text)
    (finding,) = check_recorded(module)
    assert "cannot be read" in finding.message
    assert finding.severity == "error"


def test_a_module_without_namespaces_leaves_no_record(tmp_path: Path) -> None:
    """Nothing is written where there is nothing to hold to."""
    assert record(ModuleDeclaration("plain", tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
