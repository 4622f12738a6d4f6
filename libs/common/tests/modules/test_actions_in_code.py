"""Actions that are declared in code: what `@action` says is what an entry in actions.yaml says."""

from dataclasses import replace
from textwrap import dedent

import pytest
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.declarations.model import ActionDeclaration
from stylobate.errors import StylobateError
from stylobate.modules.check import check_modules
from stylobate.modules.coded import with_code
from stylobate.modules.loaded import LoadedModule
from stylobate.testing.modules import ActionTester

from .conftest import WriteModule

MODULE = 'name: {}\nversion: "1.0.0"\npermissions: {{ "notes:write": Write notes }}\nroles: {{ user: ["notes:write"] }}\n'
CLASS = """
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field
from stylobate.modules import ActionContext, BaseModule{imported}

@dataclass
class Written:
    text: Annotated[str, Field(min_length=1)]

class Answer(BaseModel):
    text: str
    length: int

class Counted(TypedDict):
    count: int

class Notes(BaseModule):
{decorators[0]}
    async def write(self, ctx: ActionContext, note: Written) -> Answer:
        \"\"\"Write a note.\"\"\"
        return Answer(text=note.text, length=len(note.text))
{decorators[1]}
    async def count(self, ctx: ActionContext) -> Counted:
        \"\"\"Count notes.\"\"\"
        return {{"count": 0}}
"""
IN_CODE = (
    '    @action(access="notes:write", route="POST /notes", rate_limit="30/minute", timeout="2s")',
    '    @action(access="public", summary="Count them")',
)
IN_YAML = """
actions:
  notes.count: { handler: count, access: public, summary: Count them }
  notes.write:
    { handler: write, access: "notes:write", route: POST /notes, rate_limit: 30/minute, timeout: 2s, summary: Write a note }
"""


def declared(modules: str) -> list[ActionDeclaration]:
    """Return the actions of the only module, without their places."""
    (module,) = with_code(load_declarations(modules), {})
    assert not module.findings
    return sorted((replace(found, file="", line=0) for found in module.declaration.actions), key=lambda found: found.name)


def test_both_ways_make_the_same_actions(write_module: WriteModule) -> None:
    """Every key, and the schemas that annotations give."""
    code = CLASS.format(imported=", action", decorators=IN_CODE)
    first = str(write_module("code", code, module=MODULE.format("notes")) / "code")
    second = str(
        write_module("yaml", CLASS.format(imported="", decorators=("", "")), module=MODULE.format("notes"), actions=IN_YAML)
        / "yaml"
    )
    assert check_modules(first) == check_modules(second) == []
    assert declared(first) == declared(second) != []
    one, other = (LoadedModule.load(with_code(load_declarations(modules), {})[0], Sources({}, ())) for modules in (first, second))
    for name, action in one.actions.items():
        assert (action.input_schema, action.output_schema) == (
            other.actions[name].input_schema,
            other.actions[name].output_schema,
        )


async def test_an_action_in_code_is_called_like_any_other(write_module: WriteModule) -> None:
    """With its permission, its schema and its route, in the test kit as on the platform."""
    code = CLASS.format(imported=", action", decorators=IN_CODE)
    folder = write_module("notes", code, module=MODULE.format("notes")) / "notes"
    async with ActionTester.open(folder) as tester:
        assert await tester.user("alice").call("notes.write", {"text": "tea"}) == {"text": "tea", "length": 3}
        with pytest.raises(StylobateError) as refused:
            await tester.user("alice").call("notes.write", {"text": ""})
        assert refused.value.reason == "ACTION_INPUT_INVALID"
        with pytest.raises(StylobateError) as refused:
            await tester.anonymous.call("notes.write", {"text": "tea"})
        assert refused.value.reason == "UNAUTHENTICATED"


WRONG = {
    'access="notes:wirte"': "no module declares the permission `notes:wirte`; did you mean `notes:write`?",
    'access="owner"': "`access`",
    "access=5": "`access` must be text; put it in quotes (action notes.write)",
    'access="public", rate_limit="30"': "`rate_limit`",
    'access="public", rate_limit=30': "`rate_limit`: 30 has no unit; write `30/minute` (action notes.write)",
    'access="public", timeout="soon"': "`timeout`",
    'access="public", route="FETCH /notes"': "`route`",
    'access="public", route="GET /v1/notes"': "`route`",
    'access="public", route="POST /notes/{id}"': "POST /notes/{id}: ",
    'access="public", summary=7': "`summary` must be text",
    'access="public", limit="1/second"': "does not import: TypeError",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_mistake_is_told_with_its_line(write_module: WriteModule, arguments: str) -> None:
    """It is a finding at the method, in the words of the YAML file."""
    code = CLASS.format(imported=", action", decorators=(f"    @action({arguments})", ""))
    modules = write_module("notes", code, module=MODULE.format("notes"))
    (finding,) = check_modules(str(modules))
    line = code.splitlines().index(f"    @action({arguments})") + 1
    assert (finding.file, finding.line) == (str(modules / "notes" / "module.py"), line)
    assert WRONG[arguments] in finding.message


def test_a_method_is_declared_in_one_place(write_module: WriteModule) -> None:
    """Whether under the same name or another."""
    code = CLASS.format(imported=", action", decorators=(IN_CODE[0], ""))
    for name in ("notes.write", "notes.written"):
        actions = f"actions:\n  {name}: {{ handler: write, access: public }}\n"
        modules = write_module("notes", code, module=MODULE.format("notes"), actions=actions)
        (finding,) = check_modules(str(modules))
        assert "declare it there or here" in finding.message
        assert "actions.yaml:2" in finding.message


def test_a_name_is_given_once(write_module: WriteModule) -> None:
    """An action of the file and one of the code cannot share a name."""
    code = CLASS.format(imported=", action", decorators=(IN_CODE[0], ""))
    actions = "actions:\n  notes.write: { handler: count, access: public }\n"
    modules = write_module("notes", code, module=MODULE.format("notes"), actions=actions)
    (finding,) = check_modules(str(modules))
    assert finding.message == f"the action `notes.write` is declared in {modules / 'notes' / 'actions.yaml'}:2 already"


def test_routes_of_two_modules_do_not_meet(write_module: WriteModule) -> None:
    """Whichever way either is declared; the later one is told."""
    code = (
        dedent("""
        from stylobate.modules import ActionContext, BaseModule, action

        class M(BaseModule):
            @action(access="public", route="GET /notes/{key}")
            async def get(self, ctx: ActionContext, key: str) -> None: ...
    """)
        .replace("key: str)", "wanted: Wanted)")
        .replace("class M", "@dataclass\nclass Wanted:\n    key: str\n\nclass M")
    )
    code = f"from dataclasses import dataclass\n{code}"
    write_module("first", code)
    modules = write_module("second", code.replace("{key}", "{name}").replace("key: str", "name: str"))
    (finding,) = check_modules(str(modules))
    assert finding.file == str(modules / "second" / "module.py")
    assert "the route `GET /notes/{name}` of second.get" in finding.message
    assert "declared in" in finding.message
