"""The loader over whole modules and several of them."""

import os
import shutil
import sys

import pytest
from stylobate.declarations import load_declarations

ACTION = "actions:\n  {0}.go: {{ handler: go, access: public, route: POST /go }}\n"


def test_an_empty_folder_has_no_modules(modules):
    """Nothing declared is not a fault; neither are files, hidden folders and folders without declarations."""
    (modules.folder / "README.md").write_text("hello")
    (modules.folder / ".git").mkdir()
    (modules.folder / "old" / "__pycache__").mkdir(parents=True)
    declarations = modules.load()
    assert (declarations.modules, declarations.findings) == ((), ())


def test_a_missing_folder_is_a_finding(tmp_path):
    """A wrong setting is told, not taken for `no modules`."""
    (finding,) = load_declarations(str(tmp_path / "nowhere")).findings
    assert str(finding) == f"{tmp_path / 'nowhere'}: no such folder; `modules` names it"


def test_a_folder_with_declarations_but_no_module_file_is_a_finding(modules):
    """A module whose module.yaml is misnamed does not vanish silently."""
    (modules.write("shop") / "module.yaml").rename(modules.folder / "shop" / "actions.yaml")
    assert modules.findings() == ["shop/module.yaml: missing; every module has one"]


def test_a_module_and_a_folder_of_modules_can_be_given_together(modules, tmp_path):
    """Parts are separated by the path separator; a module given twice is loaded once."""
    modules.write("shop")
    modules.write("news")
    single = shutil.copytree(modules.write("single"), tmp_path / "single")
    shutil.rmtree(modules.folder / "single")
    text = os.pathsep.join([str(modules.folder), str(single), str(modules.folder / "shop")])
    assert [module.name for module in load_declarations(text).modules] == ["news", "shop", "single"]


def test_a_package_is_found_without_being_imported(modules, tmp_path, monkeypatch):
    """`package:<name>` loads modules from an installed package and runs none of its code."""
    package = shutil.copytree(modules.write("shop"), tmp_path / "acme_shop_declarations")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    both = os.pathsep.join(["package:acme_shop_declarations", "package:acme_nothing_here"])
    declarations = load_declarations(both)
    assert [module.name for module in declarations.modules] == ["shop"]
    assert [str(finding) for finding in declarations.findings] == [
        "package:acme_nothing_here: no such package is installed; `modules` names it"
    ]
    assert "acme_shop_declarations" not in sys.modules


def test_all_findings_come_at_once_in_reading_order(findings_of):
    """One run shows everything, by file and line."""
    findings = findings_of(
        module="nam: shop\nsecrets: []\nname: shop\n",
        actions="acts: {}\n",
        states="namespaces:\n  A: {}\n",
        realtime="namespaces:\n  x: {}\n",
        limits="a: 1\n",
        external="a: 1\n",
        action="a: 1\n",
    )
    assert findings == [
        "shop/module.yaml:1: unknown key `nam` in module.yaml; did you mean `name`?",
        "shop/module.yaml:2: `secrets` must be a mapping (module.yaml)",
        "shop/actions.yaml:1: unknown key `acts` in actions.yaml; did you mean `actions`?",
        "shop/states.yaml:2: 'A' is not a valid namespace name; use lower case letters, digits, _ and -",
        "shop/realtime.yaml:2: 'x' is not a valid name for a channel namespace; use two or more letters, digits, _ and -",
        "shop/limits.yaml:1: unknown key `a` in limits.yaml",
        "shop/action.yaml: not a file that modules have; did you mean `actions.yaml`?",
        "shop/external.yaml: external.yaml is not supported yet",
    ]


@pytest.mark.parametrize("name", ["external.yaml", "hooks.yaml"])
def test_parts_of_a_module_that_nothing_reads_yet_are_refused(modules, name):
    """A file that would be ignored is refused, so that nobody relies on it."""
    (modules.write("shop") / name).mkdir()
    assert modules.findings() == [f"shop/{name}: {name} is not supported yet"]


def test_a_module_with_errors_does_not_stop_the_others(modules):
    """The broken one is left out, and a broken file hides no finding of the others."""
    modules.write(
        "shop", actions="a: [\n", states="namespaces:\n  orders: { schema: { $ref: 'actions.yaml#/schemas/X' }, x: 1 }\n"
    )
    modules.write("news", actions=ACTION.format("news"))
    assert [module.name for module in modules.load().modules] == ["news"]
    assert [finding.split(": ")[0] for finding in modules.findings()] == ["shop/actions.yaml:2", "shop/states.yaml:2"]


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("states", "namespaces:\n  orders: {}\n", "namespace `orders`"),
        ("realtime", "namespaces:\n  orders: {}\n", "channel namespace `orders`"),
    ],
)
def test_two_modules_cannot_declare_the_same(modules, file, content, what):
    """The later module is told where the first one stands, and is left out."""
    modules.write("a", **{file: content})
    modules.write("b", **{file: content})
    assert modules.findings() == [f"b/{file}.yaml:2: the {what} is declared in {modules.folder}/a/{file}.yaml:2 already"]
    assert [module.name for module in modules.load().modules] == ["a"]


def test_two_actions_cannot_take_the_same_route(modules):
    """A collision of routes is a finding, within a module too."""
    modules.write("a", actions=ACTION.format("a"))
    modules.write("b", actions=ACTION.format("b") + "  b.also: { handler: go, access: public, route: POST /go }\n")
    assert [finding.split(": ")[0] for finding in modules.findings()] == ["b/actions.yaml:2", "b/actions.yaml:3"]


def test_two_modules_cannot_have_one_name(modules):
    """The folder may differ; the name may not be taken twice."""
    modules.write("a", module="name: shop\n")
    modules.write("b", module="name: shop\n")
    assert modules.findings() == [f"b/module.yaml: the module `shop` is declared in {modules.folder}/a/module.yaml already"]


def test_dependencies_come_first(modules):
    """Modules are ordered by what they depend on, not by name."""
    modules.write("a", module="name: a\ndependencies: [c]\n")
    modules.write("b")
    modules.write("c", module="name: c\ndependencies: [b]\n")
    assert [module.name for module in modules.load().modules] == ["b", "c", "a"]


def test_a_cycle_is_named(modules):
    """Every module of a cycle is told the whole of it; one that hangs on it is told too; others load."""
    modules.write("a", module="name: a\ndependencies: [b]\n")
    modules.write("b", module="name: b\ndependencies:\n  - c\n")
    modules.write("c", module="name: c\ndependencies: [a]\n")
    modules.write("d", module="name: d\ndependencies: [a]\n")
    modules.write("e")
    assert modules.findings() == [
        "a/module.yaml:2: depends on itself: a -> b -> c -> a",
        "b/module.yaml:3: depends on itself: b -> c -> a -> b",
        "c/module.yaml:2: depends on itself: c -> a -> b -> c",
        "d/module.yaml:2: depends on the module `a`, which has errors",
    ]
    assert [module.name for module in modules.load().modules] == ["e"]


def test_a_missing_dependency_is_named(modules):
    """A module that needs an absent one is left out, and so is what needs it in turn."""
    modules.write("billing", module="name: billing\ndependencies: [shpo]\n")
    modules.write("report", module="name: report\ndependencies: [billing]\n")
    modules.write("shop")
    assert modules.findings() == [
        "billing/module.yaml:2: depends on the module `shpo`, which is not there; did you mean `shop`?",
        "report/module.yaml:2: depends on the module `billing`, which has errors",
    ]
    assert [module.name for module in modules.load().modules] == ["shop"]


def test_permissions_must_be_declared_by_some_module(modules):
    """A permission nobody declares is a typo; one of another module, or a whole area in a role, is fine."""
    modules.write(
        "a", module="name: a\npermissions: { 'orders:read': Read }\nroles: { staff: ['orders:*'], user: ['order:*'] }\n"
    )
    modules.write("b", states="namespaces:\n  x: { access: { read: orders:read, write: orders:raed } }\n")
    assert modules.findings() == [
        "a/module.yaml:3: no module declares the permission `order:*`; did you mean `orders:read`?",
        "b/states.yaml:2: no module declares the permission `orders:raed`; did you mean `orders:read`?",
    ]


def test_roles_of_all_modules_add_up(modules):
    """Two modules may give permissions to one role."""
    modules.write("a", module="name: a\npermissions: { 'a:x': X }\nroles: { user: ['a:x'] }\n")
    modules.write("b", module="name: b\npermissions: { 'b:x': X }\nroles: { user: ['b:x'], staff: ['a:x'] }\n")
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.roles == {"user": frozenset({"a:x", "b:x"}), "staff": frozenset({"a:x"})}


def test_the_digest_is_that_of_the_content(modules, tmp_path):
    """The same files elsewhere have the same digest; one changed byte has another."""
    module = modules.write("shop", actions=ACTION.format("shop"))
    shutil.copytree(modules.folder, tmp_path / "copy")
    before = modules.load().digest
    assert load_declarations(str(tmp_path / "copy")).digest == before
    with (module / "actions.yaml").open("a") as file:
        file.write("#")
    assert modules.load().digest != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: Shop", "module.yaml:1: 'Shop' is not a valid module name"),
        ("version: 1", "module.yaml:1: `name` is missing in module.yaml"),
        ("name: shop\nversion: 1.0", "module.yaml:2: `version` must be text; put it in quotes"),
        ("name: shop\ndependencies: news", "module.yaml:2: `dependencies` must be a list of texts"),
        ("name: shop\ndependencies: [a, a]", "stands twice"),
        ("name: shop\npermissions: [a:b]", "module.yaml:2: `permissions` must be a mapping"),
        ("name: shop\npermissions: { 'a:b': }", "module.yaml:2: the permission `a:b` needs a description"),
        ("name: shop\npermissions: { create: x }", "module.yaml:2: 'create' is not a permission"),
        ("name: shop\nroles: { user: 3 }", "module.yaml:2: `user` must be a list of texts"),
        ("name: shop\nsettings: { type: array }", "module.yaml:2: `settings` must be a JSON Schema with `type: object`"),
        ("- name", "module.yaml:1: module.yaml must be a mapping"),
    ],
)
def test_a_wrong_module_file_is_a_finding(findings_of, text, message):
    """module.yaml is checked like every other file."""
    assert any(message in finding for finding in findings_of(module=text + "\n"))
