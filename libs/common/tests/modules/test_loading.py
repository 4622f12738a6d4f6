"""Loading modules: import, examination, settings."""

import sys
from pathlib import Path

import pytest
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.declarations.sources import packages_of
from stylobate.modules.check import check_modules
from stylobate.modules.coded import with_code
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.loaded import LoadedModule

from .conftest import WriteModule

ACTIONS = """
    actions:
      {name}.greet: {{ handler: greet, access: public }}
"""
GREETER = """
    from stylobate.modules import ActionContext, BaseModule

    class Greeter(BaseModule):
        async def greet(self, ctx: ActionContext, name: str) -> str:
            return f"{WORD} {name}"

    WORD = "Hello"
"""


def load(modules: Path, environ: dict[str, str] | None = None, package: str = "") -> LoadedModule:
    """Load the only module."""
    (module,) = with_code(load_declarations(package or str(modules)), packages_of(package), also_broken=False)
    return LoadedModule.load(module, Sources(environ or {}, ()))


def messages(modules: Path) -> list[str]:
    """Return what the check finds, with places as seen from the folder of modules."""
    return [str(finding).removeprefix(f"{modules}/") for finding in check_modules(str(modules))]


def test_a_module_is_imported_and_its_schemas_come_from_annotations(write_module: WriteModule) -> None:
    """What actions.yaml leaves out the handler's annotations say."""
    modules = write_module("greeter", GREETER, actions=ACTIONS.format(name="greeter"))
    action = load(modules).actions["greeter.greet"]
    assert (action.input_schema, action.output_schema) == ({"type": "string"}, {"type": "string"})


def test_modules_with_files_of_the_same_name_do_not_meet(write_module: WriteModule) -> None:
    """Each module's relative imports find its own files."""
    for name in ("first", "second"):
        modules = write_module(
            name,
            "from stylobate.modules import BaseModule\nfrom .words import WORD\n\nclass M(BaseModule):\n    word = WORD\n",
        )
        (modules / name / "words.py").write_text(f"WORD = {name!r}")
    coded = with_code(load_declarations(str(modules)), {})
    assert [LoadedModule.load(module, Sources({}, ())).instance.word for module in coded] == ["first", "second"]  # type: ignore[attr-defined]


def test_a_module_in_a_package_keeps_its_import_name(
    write_module: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`package:name` is imported as that package, so that its classes exist once."""
    write_module("acme_greeter", GREETER, actions=ACTIONS.format(name="acme_greeter"))
    (tmp_path / "acme_greeter" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load(tmp_path, package="package:acme_greeter")
    assert type(loaded.instance).__module__ == "acme_greeter.module"
    monkeypatch.delitem(sys.modules, "acme_greeter.module")
    monkeypatch.delitem(sys.modules, "acme_greeter")


def test_a_module_without_code_needs_no_module_py(write_module: WriteModule) -> None:
    """States alone are data."""
    modules = write_module("notes", states="namespaces:\n  notes: { access: { read: public } }\n")
    assert load(modules).actions == {}
    assert check_modules(str(modules)) == []


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("x = 1 +", "greeter/module.py:1: does not import: invalid syntax"),
        ("import nothing_of_that_name", "greeter/module.py:1: does not import: ModuleNotFoundError: No module named"),
        ("x = 1", "greeter/module.py: no class derives from BaseModule"),
        ("", "greeter/module.py: missing; the module declares actions, hooks, projections or an upgrade"),
        (GREETER.replace("greet(", "hello("), "greeter/actions.yaml:3: greeter.greet: Greeter has no method greet"),
        (GREETER.replace("async def", "def"), "greeter/module.py:5: greeter.greet: greet must be written with async def"),
        (GREETER.replace(", name: str", ", name: str, more: int"), "greet must take (self, ctx, input)"),
        (GREETER.replace("name: str", "name: 'Missing'"), "an annotation cannot be read: name 'Missing' is not defined"),
    ],
    ids=["syntax", "import", "no class", "no code", "no handler", "not async", "parameters", "annotation"],
)
def test_each_fault_of_the_code_is_a_finding_with_its_place(write_module: WriteModule, code: str, finding: str) -> None:
    """`stylobate modules check` names file, line and cause; the same stops the module from loading."""
    modules = write_module("greeter", code, actions="actions:\n\n  greeter.greet: { handler: greet, access: public }\n")
    (found,) = messages(modules)
    assert finding in found
    with pytest.raises(ModuleLoadError):
        load(modules)


def test_hooks_are_checked_too(write_module: WriteModule) -> None:
    """A before-hook that is missing, and a hook with the wrong parameters, are findings."""
    modules = write_module(
        "greeter",
        """
        from stylobate.modules import BaseModule, on

        class Greeter(BaseModule):
            @on("state.notes.*")
            async def listen(self, ctx):
                pass
        """,
        states="namespaces:\n  notes:\n    before: { created: look }\n",
    )
    first, second = messages(modules)
    assert first.endswith("module.py:5: listen must take (self, ctx, event)")
    assert second.endswith("before created of notes: Greeter has no method look")


def test_a_declared_input_must_be_taken(write_module: WriteModule) -> None:
    """An input that is declared and would be thrown away is a finding."""
    modules = write_module(
        "greeter",
        GREETER.replace(", name: str", "").replace("{name}", ""),
        actions="actions:\n  greeter.greet: { handler: greet, access: public, input: { type: string } }\n",
    )
    (found,) = messages(modules)
    assert "greeter.greet declares an input that its handler does not take" in found


SETTINGS = """
    name: greeter
    version: "1.0.0"
    settings:
      type: object
      additionalProperties: false
      required: [greeting]
      properties:
        greeting: { type: string }
        times: { type: integer, minimum: 1, default: 1 }
        loud: { type: boolean, default: false }
"""


def test_settings_come_from_the_environment_else_from_defaults(write_module: WriteModule) -> None:
    """Texts are taken as they are, everything else as JSON: `false` is false."""
    modules = write_module("greeter", module=SETTINGS)
    environ = {"STYLOBATE_MODULE_GREETER_GREETING": "12", "STYLOBATE_MODULE_GREETER_LOUD": "false"}
    assert dict(load(modules, environ).instance.settings) == {"greeting": "12", "times": 1, "loud": False}


@pytest.mark.parametrize(
    ("environ", "finding"),
    [
        ({}, "STYLOBATE_MODULE_GREETER_GREETING: is missing"),
        ({"GREETING": "x", "TIMES": "0"}, "STYLOBATE_MODULE_GREETER_TIMES: "),
        ({"GREETING": "x", "TIMES": "many"}, "STYLOBATE_MODULE_GREETER_TIMES: is read as JSON (integer) and cannot be parsed"),
        ({"GREETING": "x", "LOUD": '"false"'}, "STYLOBATE_MODULE_GREETER_LOUD: "),
    ],
)
def test_a_bad_setting_stops_the_module_and_is_named(write_module: WriteModule, environ: dict[str, str], finding: str) -> None:
    """The finding names the variable to set."""
    modules = write_module("greeter", module=SETTINGS)
    with pytest.raises(ModuleLoadError) as refused:
        load(modules, {f"STYLOBATE_MODULE_GREETER_{name}": value for name, value in environ.items()})
    assert finding in str(refused.value)


@pytest.mark.parametrize(
    ("route", "annotation", "problem"),
    [
        ("GET /x", "dict[str, object]", "it needs a schema"),
        ("GET /x", "list[str]", "it must be an object with `properties`"),
        ("GET /x", "Nested", "`inner` is an object, which a URL cannot hold"),
        ("POST /x/{who}", "Nested", "`{who}` is not a field of the input"),
        ("GET /x/{name}", "Flat", ""),
        ("POST /x/{name}", "Flat", ""),
    ],
)
def test_what_an_annotation_asks_for_must_fit_into_the_url(
    write_module: WriteModule, route: str, annotation: str, problem: str
) -> None:
    """Where the schema comes from the handler it is held against the route as a declared one is."""
    code = f"""
    from dataclasses import dataclass
    from stylobate.modules import ActionContext, BaseModule

    @dataclass
    class Flat:
        name: str

    @dataclass
    class Nested:
        inner: Flat

    class Greeter(BaseModule):
        async def greet(self, ctx: ActionContext, value: {annotation}) -> str:
            return ""
"""
    modules = write_module(
        "greeter", code, actions=f"actions:\n  greeter.greet: {{ handler: greet, access: public, route: '{route}' }}\n"
    )
    found = messages(modules)
    if problem:
        (finding,) = found
        assert finding.startswith("greeter/actions.yaml:")
        assert problem in finding
    else:
        assert found == []
