# ruff: noqa: E501  a mistake is a line of a table
"""Mistakes that people make: each planted in a module that is fine otherwise, each found once, at its file and line."""

import re
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest
from stylobate.config import Sources
from stylobate.modules.check import check_modules
from stylobate.modules.rehearsal import rehearse

FILES = {
    "module.yaml": """\
        name: clinic
        version: "1.0.0"
        description: Bookings of a clinic
        permissions:
          "clinic:book": Book a slot
          "clinic:staff": See all bookings
        roles:
          user: ["clinic:book"]
          staff: ["clinic:*"]
        settings:
          type: object
          additionalProperties: false
          properties:
            hours: { type: integer, default: 24 }
            greeting: { type: string, default: hello }
        """,
    "actions.yaml": """\
        actions:
          clinic.book:
            summary: Book a slot
            handler: book
            route: POST /bookings
            access: clinic:book
            rate_limit: 5/minute
            timeout: 5s
            input: { $ref: "#/schemas/Booking" }
            output: { type: object }
          clinic.cancel:
            handler: cancel
            access: authenticated
        schemas:
          Booking:
            type: object
            additionalProperties: false
            required: [slot, at]
            properties:
              slot: { type: string, pattern: "^[a-z]+$", maxLength: 20 }
              at: { type: string, format: date-time }
              seats: { type: integer, minimum: 1 }
        """,
    "states.yaml": """\
        namespaces:
          bookings:
            schema: { $ref: "actions.yaml#/schemas/Booking" }
            schema_version: 1
            initial: open
            access:
              read: owner or clinic:staff
              create: actions
            transitions:
              confirm: { from: open, to: confirmed, access: clinic:staff }
              cancel:  { from: [open, confirmed], to: cancelled, access: owner }
            before:
              created: look
        """,
    "realtime.yaml": """\
        namespaces:
          bookings:
            access:
              subscribe: state:bookings
            presence: true
        """,
    "module.py": """\
        from dataclasses import dataclass
        from typing import Any

        from stylobate.modules import ActionContext, BaseModule, Event, HookContext, on


        @dataclass
        class Reference:
            id: str


        class Clinic(BaseModule):
            async def initialize(self) -> None:
                self.ready = True

            async def book(self, ctx: ActionContext, booking: dict[str, Any]) -> Any:
                return booking

            async def cancel(self, ctx: ActionContext, reference: Reference) -> Reference:
                return reference

            async def look(self, ctx: HookContext, event: Event) -> None:
                pass

            @on("state.bookings.*")
            async def push(self, ctx: HookContext, event: Event) -> None:
                pass
        """,
}


class Mistake(NamedTuple):
    """What is written instead of what, and what is to be said of it."""

    file: str
    right: str
    wrong: str
    said: str
    at: str = ""
    """In the line of the finding, where that is not the line that was changed; ``file:text`` in another file."""


M, A, S, R, P = FILES
AT_THE_START = "self.ready = True"
"""What is replaced by what only shows when the module is started."""
MISTAKES = [
    # module.yaml
    Mistake(M, "name: clinic", "name: Clinic", "is not a valid module name"),
    Mistake(M, "name: clinic", "nmae: clinic", "unknown key `nmae`"),
    Mistake(M, 'version: "1.0.0"', "version: 1.0", "put it in quotes"),
    Mistake(M, "version:", "versoin:", "did you mean `version`"),
    Mistake(M, "description:", "secrets: [a]\ndescription:", "must be a mapping", "secrets"),
    Mistake(M, "description:", "secrets: { token: }\ndescription:", "the secret `token` needs a description", "token"),
    Mistake(M, "description:", "secrets: { Token: x }\ndescription:", "'Token' is not a name for a secret", "Token"),
    Mistake(M, "description:", "secrets: { token: x }\ndescription:", "the secret `token` is missing; looked at", "token"),
    Mistake(M, '"clinic:book": Book a slot', '"clinic:book":', "needs a description"),
    Mistake(M, '"clinic:book": Book a slot', '"clinic-book": Book a slot', "is not a permission"),
    Mistake(M, '"clinic:staff": See', '"state:staff": See', "`state:` names state namespaces" ),
    Mistake(M, 'user: ["clinic:book"]', 'user: ["clinic:bok"]', "did you mean `clinic:book`"),
    Mistake(M, 'user: ["clinic:book"]', "user: clinic:book", "must be a list of texts"),
    Mistake(M, 'user: ["clinic:book"]', 'user: ["clinic:book", "clinic:book"]', "stands twice"),
    Mistake(M, "staff: [", "Staff!: [", "is not a valid role name"),
    Mistake(M, "settings:", "dependencies: [laboratory]\nsettings:", "which is not there", "laboratory"),
    Mistake(M, "settings:", "dependencies: [clinic]\nsettings:", "depends on itself", "dependencies"),
    Mistake(M, "  type: object", "  type: array", "must be a JSON Schema with `type: object`"),
    Mistake(M, "default: 24", 'default: "24"', "the default of the setting `hours`"),
    Mistake(M, "default: hello", "default: 7", "the default of the setting `greeting`"),
    Mistake(M, "type: integer, default", "type: intger, default", "no valid JSON Schema"),
    Mistake(M, "{ type: string, default: hello }", "{ type: string }\n  required: [greeting]", "STYLOBATE_MODULE_CLINIC_GREETING: is missing", "type: object"),
    Mistake(M, "name: clinic", "name: clinic\nname: clinic", "stands twice", "2"),
    Mistake(M, "roles:", "\troles:", "a tab"),
    # actions.yaml
    Mistake(A, "clinic.book:", "clinik.book:", "must be `clinic.<name>`"),
    Mistake(A, "clinic.book:", "clinic.Book:", "must be `clinic.<name>`"),
    Mistake(A, "handler: book", "handler: boook", "has no method boook", "clinic.book:"),
    Mistake(A, "handler: book", "handler: _book", "is not the name of a public method"),
    Mistake(A, "handler: book", "handlr: book", "did you mean `handler`" ),
    Mistake(A, "handler: cancel", "handler: http://elsewhere", "is not supported yet"),
    Mistake(A, "handler: cancel", "handler: dispose", "belongs to the module's life", "clinic.cancel:"),
    Mistake(A, "access: clinic:book", "access: clinic:bok", "did you mean `clinic:book`"),
    Mistake(A, "access: clinic:book", "access: owner", "has no meaning here"),
    Mistake(A, "access: clinic:book", "access: clinic:book or clinic:staff", "is one permission"),
    Mistake(A, "access: authenticated", "access: authentcated", "is neither a permission"),
    Mistake(A, "    access: authenticated\n", "", "`access` is missing", "clinic.cancel:|handler: cancel"),
    Mistake(A, "route: POST /bookings", "route: /bookings", "is not a route"),
    Mistake(A, "route: POST /bookings", "route: FETCH /bookings", "is not one of"),
    Mistake(A, "route: POST /bookings", "route: POST /v1/bookings", "belongs to the platform"),
    Mistake(A, "route: POST /bookings", "route: POST /bookings/", "slash at its end"),
    Mistake(A, "rate_limit: 5/minute", "rate_limit: 5", "write `5/minute`"),
    Mistake(A, "rate_limit: 5/minute", "rate_limit: 5/fortnight", "is not a rate limit"),
    Mistake(A, "rate_limit: 5/minute", "rate_limit: 5000/minute", "write `5000/minute gcra`"),
    Mistake(A, "rate_limit: 5/minute", "rate_limit: 0/minute", "must be between"),
    Mistake(A, "timeout: 5s", "timeout: 5", "write `5s`"),
    Mistake(A, "timeout: 5s", 'timeout: "5"', "write `5s`"),
    Mistake(A, "timeout: 5s", "timeout: 5 sec", "is not a duration"),
    Mistake(A, "timeout: 5s", "timeout: 0s", "must be more than nothing"),
    Mistake(A, "timeout: 5s", "timeout: 99999999999999999999h", "at most 24h"),
    Mistake(A, "timeout: 5s", f"timeout: {'9' * 400}s", "at most 24h"),
    Mistake(A, "timeout: 5s", "retry: 3", "not supported yet"),
    Mistake(A, "#/schemas/Booking", "#/schemas/Bookng", "did you mean `Booking`"),
    Mistake(A, "#/schemas/Booking", "#/definitions/Booking", "`$ref` must be"),
    Mistake(A, "format: date-time", "format: datetime", "did you mean `date-time`"),
    Mistake(A, "format: date-time", "format: phone", "is not a format of JSON Schema"),
    Mistake(A, 'pattern: "^[a-z]+$"', 'pattern: "^[a-z+$"', "regex"),
    Mistake(A, 'pattern: "^[a-z]+$"', "pattern: [a-z]+", "goes in quotes"),
    Mistake(A, 'pattern: "^[a-z]+$"', "pattern: [a-z]", "put it in quotes"),
    Mistake(A, 'pattern: "^[a-z]+$"', "pattern: '\\p{Nothing}'", "is not a regular expression"),
    Mistake(A, "maxLength: 20", "maxLenght: 20", "did you mean `maxLength`"),
    Mistake(A, "maxLength: 20", "maxLength: -1", "no valid JSON Schema"),
    Mistake(A, "type: integer, minimum", "type: number, format: int32, minimum", "is not a format of JSON Schema"),
    Mistake(A, "minimum: 1", 'minimum: "1"', "no valid JSON Schema"),
    Mistake(A, "required: [slot, at]", "required: [slot, att]", "did you mean `at`"),
    Mistake(A, "additionalProperties: false", "additionalProperty: false", "did you mean"),
    Mistake(A, "  Booking:", "  $defs: {}\n  Booking:", "not a valid schema name", "$defs"),
    Mistake(A, "schemas:", "schema:", "did you mean `schemas`"),
    Mistake(A, "summary: Book a slot", "summary: Book: a slot", "goes in quotes"),
    Mistake(A, "summary: Book a slot", "summary: 5", "put it in quotes"),
    Mistake(A, "summary: Book a slot", "summary: 'Book a slot", "bad YAML"),
    # states.yaml
    Mistake(S, "initial: open", "initial: opn", "did you mean `open`"),
    Mistake(S, "initial: open", "initial: 0", "put it in quotes"),
    Mistake(S, "    initial: open\n", "", "`initial` is missing", "schema:|bookings:"),
    Mistake(S, "from: [open, confirmed]", "from: [open, confirmd]", "did you mean `confirmed`"),
    Mistake(S, "from: open, to: confirmed", "from: opn, to: confirmed", "did you mean `open`"),
    Mistake(S, "from: open, to", "form: open, to", "did you mean `from`"),
    Mistake(S, "to: cancelled", "too: cancelled", "did you mean `to`"),
    Mistake(S, "confirm: { from", "updated: { from", "is not a valid event name"),
    Mistake(S, "access: owner }", "access: ownr }", "is neither a permission"),
    Mistake(S, "access: owner }", 'access: owner, guard: "dat.total > 0" }', "knows no `dat.total`; did you mean `data`"),
    Mistake(S, "read: owner or clinic:staff", "read: owner and clinic:staff", "joined by `or` only"),
    Mistake(S, "read: owner or clinic:staff", "read: owner or clinic:staf", "did you mean `clinic:staff`"),
    Mistake(S, "create: actions", "create: owner", "has no meaning here"),
    Mistake(S, "create: actions", "craete: actions", "did you mean `create`"),
    Mistake(S, "created: look", "created: loook", "has no method loook", "bookings:"),
    Mistake(S, "created: look", "create: look", "did you mean `created`"),
    Mistake(S, "created: look", "created: { method: look, on_unavailable: maybe }", "must be deny or allow"),
    Mistake(S, "created: look", "created: cancel_all()", "must name a public method"),
    Mistake(S, "schema_version: 1", "schema_version: one", "must be a whole number"),
    Mistake(S, "schema_version: 1", "schema_version: 2", "needs `upgrade`"),
    Mistake(S, "schema_version: 1", "schema_version: 2\n    upgrade: loko", "has no method loko", "bookings:"),
    Mistake(S, "schema_version: 1", "schema_version: 2\n    upgrade: look", "look must be written with a plain def", "bookings:"),
    Mistake(S, "before:", "timers: [{ in: open, after: 15m, event: cancl }]\n    before:", "did you mean `cancel`", "timers:"),
    Mistake(S, "bookings:", "Bookings:", "is not a valid namespace name"),
    # realtime.yaml
    Mistake(R, "subscribe: state:bookings", "subscribe: state:booking", "did you mean `bookings`"),
    Mistake(R, "subscribe: state:bookings", "subscribe: owner", "has no meaning here"),
    Mistake(R, "subscribe: state:bookings", "subscribe: state:bookings or public", "stands alone"),
    Mistake(R, "presence: true", 'presence: "true"', "must be true or false"),
    Mistake(R, "presence: true", "presense: true", "did you mean `presence`"),
    Mistake(R, "presence: true", "history: 10", "not supported yet"),
    # module.py
    Mistake(P, "self.ready = True", "self.ready == True +", "invalid syntax"),
    Mistake(P, "self.ready = True", "raise ValueError('no till')", "does not initialize: ValueError: no till"),
    Mistake(P, "self.ready = True", "raise SystemExit(3)", "does not initialize: SystemExit: 3"),
    Mistake(P, "self.ready = True", "__import__('os')._exit(3)", "ended with code 3", "from dataclasses import dataclass"),
    Mistake(P, "self.ready = True", "await __import__('asyncio').Event().wait()", "does not initialize within", "from dataclasses import dataclass"),
    Mistake(P, "async def initialize", "def initialize", "must be written with async def"),
    Mistake(P, "async def initialize(self)", "async def initialize(self, app)", "takes nothing but self"),
    Mistake(P, "async def initialize(self)", "async def delete_user(self, ctx)", "delete_user takes self, ctx, user_id"),
    Mistake(P, "async def initialize(self)", "async def export_user(self, ctx, user_id)", "async def, and yield what it gives out"),
    Mistake(P, "async def initialize(self)", "def delete_user(self, ctx, user_id)", "delete_user must be written with async"),
    Mistake(P, "async def initialize(self) -> None:", "def configure(self) -> None:\n        raise KeyError('key')\n\n    async def initialize(self) -> None:", "does not start: KeyError", "raise KeyError"),
    Mistake(P, "async def initialize(self) -> None:", "def __init__(self) -> None:\n        pass\n\n    async def initialize(self) -> None:", "does not start: TypeError", "from dataclasses import dataclass"),
    Mistake(P, "from typing import Any", "from typing import Anny", "does not import: ImportError"),
    Mistake(P, "from typing import Any", "import no_such_library", "does not import: ModuleNotFoundError"),
    Mistake(P, "from typing import Any", "from typing import Any\n\nraise SystemExit('no')", "does not import: SystemExit: no", "raise SystemExit"),
    Mistake(P, "from typing import Any", "from .rules import Any", "No module named"),
    Mistake(P, "class Clinic(BaseModule)", "class Clinic", "no class derives from BaseModule", "0"),
    Mistake(P, "class Clinic(BaseModule)", "class Other(BaseModule): ...\n\n\nclass Clinic(BaseModule)", "several classes", "class Clinic"),
    Mistake(P, "async def book", "def book", "must be written with async def"),
    Mistake(P, "ctx: ActionContext, booking: dict[str, Any]", "booking: dict[str, Any]", "declares an input that its handler does not take"),
    Mistake(P, "reference: Reference)", "reference: Reference, more: int)", "must take (self, ctx, input)"),
    Mistake(P, "reference: Reference)", "reference)", "nothing says what `reference` is"),
    Mistake(P, ") -> Reference:", "):", "nothing says what cancel returns", "def cancel"),
    Mistake(P, "reference: Reference)", "reference: Refrence)", "NameError"),
    Mistake(P, "reference: Reference)", "reference: 'Refrence')", "an annotation cannot be read"),
    Mistake(P, "-> Reference:", "-> 'Clinic':", "has no JSON form"),
    Mistake(P, "async def look(self, ctx: HookContext, event: Event)", "async def look(self, ctx: HookContext)", "must take (self, ctx, event)", f"{S}:bookings:"),
    Mistake(P, "ctx: ActionContext, reference: Reference", "reference: Reference, ctx: ActionContext", "`reference` gets ActionContext, not Reference"),
    Mistake(P, "ctx: ActionContext, reference: Reference", "ctx: HookContext, reference: Reference", "`ctx` gets ActionContext, not HookContext"),
    Mistake(P, "push(self, ctx: HookContext, event: Event)", "push(self, event: Event, ctx: HookContext)", "`event` gets HookContext, not Event", "@on"),
    Mistake(P, "push(self, ctx: HookContext, event: Event)", "push(self, ctx: ActionContext, event: Event)", "`ctx` gets HookContext", "@on"),
    Mistake(P, "push(self, ctx: HookContext, event: Event)", "push(self, ctx: HookContext, event: dict)", "`event` gets Event, not dict", "@on"),
    Mistake(P, "look(self, ctx: HookContext, event: Event)", "look(self, event: Event, ctx: HookContext)", "`event` gets HookContext", f"{S}:bookings:"),
    Mistake(P, "booking: dict[str, Any]) -> Any", "booking: Reference) -> Any", "`/id` of the input is asked for by the annotation"),
    Mistake(P, "booking: dict[str, Any]) -> Any", "booking: list[str]) -> Any", "is object and array"),
    Mistake(P, "booking: dict[str, Any]) -> Any", "booking: dict[str, Any]) -> int", "`` of the output is integer and object"),
    Mistake(P, '@on("state.bookings.*")', "@on", "takes the type of the events"),
    Mistake(P, '@on("state.bookings.*")', '@on("state.booking.*")', "did you mean `state.bookings", "@on"),
    Mistake(P, '@on("state.bookings.*")', '@on("state.bookings.confirmed")', "nothing is ever published as", "@on"),
    Mistake(P, '@on("state.bookings.*")', '@on("auth.user.registred")', "nothing is ever published as", "@on"),
    Mistake(P, '@on("state.bookings.*")', '@on("state.bookings")', "nothing is ever published as", "@on"),
    Mistake(P, '@on("state.bookings.*")', '@on("billing.paid")', "no service 'billing' publishes events"),
    Mistake(P, '@on("state.bookings.*")', '@on("state..created")', "not a pattern"),
    Mistake(P, '@on("state.bookings.*")', '@on("state.bookings.*", delivery="all")', "delivery is one of"),
]  # fmt: skip


def written(folder: Path, changed: dict[str, str]) -> Path:
    """Write the module and return the folder of modules."""
    module = folder / "modules" / "clinic"
    module.mkdir(parents=True)
    for name, text in FILES.items():
        (module / name).write_text(changed.get(name, dedent(text)))
    return folder / "modules"


def found_in(modules: Path, *, starts: bool = False) -> list[str]:
    """Return what is found, as ``file:line: message``."""
    found = rehearse(str(modules), timedelta(seconds=1)) if starts else check_modules(str(modules), Sources({}, ()))
    return [str(finding).replace(f"{modules}/clinic/", "") for finding in found]


@pytest.mark.parametrize("starts", [False, True])
def test_the_module_without_mistakes_is_fine(tmp_path: Path, *, starts: bool) -> None:
    """So that each finding below is that of its mistake."""
    assert found_in(written(tmp_path, {}), starts=starts) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{m.file}-{m.wrong.strip()[:50]}" for m in MISTAKES])
def test_a_mistake_is_one_finding_at_its_file_and_line(tmp_path: Path, mistake: Mistake) -> None:
    """One finding and no more: what only follows from it is not said."""
    text = dedent(FILES[mistake.file])
    assert mistake.right in text
    modules = written(tmp_path, {mistake.file: text.replace(mistake.right, mistake.wrong, 1)})
    (found,) = found_in(modules, starts=mistake.right == AT_THE_START)
    place = re.fullmatch(r"([a-z.]+):(?:(\d+):)? (.*)", found, re.DOTALL)
    assert place is not None
    assert mistake.said in place[3]
    file, at = mistake.at.split(":", 1) if mistake.at.startswith(tuple(FILES)) else (mistake.file, mistake.at)
    assert place[1] == file
    if at == "0":
        assert place[2] is None
        return
    line = (modules / "clinic" / file).read_text().splitlines()[int(place[2]) - 1]
    wanted = at or mistake.wrong.strip().splitlines()[0]
    assert place[2] == at if at.isdecimal() else any(part in line for part in wanted.split("|")), line
