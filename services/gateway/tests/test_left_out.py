"""A module that does not run: each way to call what it declares is answered alike, and the others serve on."""

from pathlib import Path
from typing import Any

import httpx
import pytest

ACTIONS = """
actions:
  NAME.all: { handler: all, route: "GET /NAME", access: public }
  NAME.one: { handler: one, route: "GET /NAME/{thing_id}", access: authenticated }
  NAME.make: { handler: make, route: "POST /NAME/{thing_id}/parts", access: authenticated }
  NAME.put: { handler: make, route: "PUT /NAME/{thing_id}", access: authenticated, input: { $ref: "#/schemas/Part" } }
  NAME.drop: { handler: one, route: "DELETE /NAME/{thing_id}", access: authenticated }
  NAME.quiet: { handler: all, access: public }
schemas:
  Part: { type: object, required: [thing_id, part], properties: { thing_id: { type: integer }, part: { type: string } } }
"""
CODE = """
from typing import Any
from pydantic import BaseModel
from stylobate.modules import BaseModule

class Thing(BaseModel):
    thing_id: int

class Part(Thing):
    part: str

class Things(BaseModule):
    async def initialize(self) -> None:
        pass

    async def all(self, ctx: Any) -> str:
        return "all"

    async def one(self, ctx: Any, input: Thing) -> int:
        return input.thing_id

    async def make(self, ctx: Any, input: Part) -> str:
        return input.part
"""
WRITTEN = """
from typing import Any
from pydantic import BaseModel
from stylobate.modules import BaseModule, action

class Thing(BaseModel):
    thing_id: int

class Part(Thing):
    part: str

class Things(BaseModule):
    async def initialize(self) -> None:
        pass

    @action(route="GET /things", access="public")
    async def all(self, ctx: Any) -> str:
        return "all"

    @action(route="GET /things/{thing_id}", access="authenticated")
    async def one(self, ctx: Any, input: Thing) -> int:
        return input.thing_id

    @action(route="POST /things/{thing_id}/parts", access="authenticated", timeout=None)
    async def make(self, ctx: Any, input: Part) -> str:
        return input.part

    @action(route="PUT /things/{thing_id}", access="authenticated")
    async def put(self, ctx: Any, input: Part) -> str:
        return input.part

    @action(route="DELETE /things/{thing_id}", access="authenticated")
    async def drop(self, ctx: Any, input: Thing) -> int:
        return input.thing_id

    @action(access="public")
    async def quiet(self, ctx: Any) -> str:
        return "all"
"""
"""The same, declared in code alone."""
CAUSES = {
    "code": ("module.py", "class Things", "raise RuntimeError('no')\nclass Things"),
    "handler": ("module.py", "def make", "def another"),
    "start": ("module.py", "        pass", "        raise RuntimeError('no')"),
    "dependency": ("module.yaml", "version", "dependencies: [absent]\nversion"),
    "declaration": ("module.yaml", "version", "nonsense: 1\nversion"),
    "action": ("actions.yaml", "access: public", "acess: public"),
}
"""Why a module is left out: a file, what stands in it, and what stands there instead."""
ROUTES = [
    ("GET", "/things", "all"),
    ("HEAD", "/things", "all"),
    ("GET", "/things?unknown=1", "all"),
    ("GET", "/things/7", "one"),
    ("GET", "/things/a%20b", "one"),
    ("POST", "/things/7/parts", "make"),
    ("PUT", "/things/x", "put"),
    ("DELETE", "/things/7", "drop"),
]


def write(folder: Path, name: str) -> Path:
    """Write a module that runs."""
    where = folder / name
    where.mkdir()
    (where / "module.yaml").write_text(f'name: {name}\nversion: "1.0.0"\n')
    (where / "actions.yaml").write_text(ACTIONS.replace("NAME", name))
    (where / "module.py").write_text(CODE)
    return where


def change(file: Path, right: str, wrong: str) -> None:
    """Replace a part of a file."""
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))


CASES = [(cause, False) for cause in CAUSES] + [(cause, True) for cause in CAUSES if cause not in {"handler", "action"}]


@pytest.mark.parametrize(("cause", "is_written"), CASES)
async def test_what_a_module_declares_is_answered_alike_whichever_way_it_is_called(
    run_gateway: Any, is_problem: Any, tmp_path: Path, cause: str, is_written: bool
) -> None:
    """503 ACTION_UNAVAILABLE by name and by route, for anybody, whatever comes with it; in files or in code alike."""
    file, right, wrong = CAUSES[cause]
    module = write(tmp_path, "things")
    if is_written:
        (module / "actions.yaml").unlink()
        (module / "module.py").write_text(WRITTEN)
    change(module / file, right, wrong)
    async with run_gateway(modules=tmp_path) as gateway:
        assert list(gateway.app.left_out or gateway.app.declarations.left_out) == ["things"]
        for method, path, name in ROUTES:
            for more in ({}, {"headers": {"Authorization": "Bearer ada"}}, {"content": b"no JSON"}):
                by_name = await gateway.http.post(f"/v1/actions/things.{name}", **more)
                same = _told(is_problem(by_name, 503, "ACTION_UNAVAILABLE"))
                answer: httpx.Response = await gateway.http.request(method, path, **more)
                assert answer.headers.get("retry-after") == by_name.headers["retry-after"], (method, path, more, answer.text)
                if method == "HEAD":
                    assert (answer.status_code, answer.content) == (503, b"")
                else:
                    assert _told(is_problem(answer, 503, "ACTION_UNAVAILABLE")) == same
        is_problem(await gateway.http.post("/v1/actions/things.quiet"), 503, "ACTION_UNAVAILABLE")
        is_problem(await gateway.http.get("/v1/actions/things.one"), 503, "ACTION_UNAVAILABLE")
        is_problem(await gateway.http.patch("/things/7"), 405, "METHOD_NOT_ALLOWED")
        is_problem(await gateway.http.get("/nothing/7"), 404, "ROUTE_NOT_FOUND")
        document = (await gateway.http.get("/openapi.json")).json()
        assert not [path for path in document["paths"] if "things" in path]


async def test_code_that_is_not_python_tells_nothing_of_its_routes(run_gateway: Any, is_problem: Any, tmp_path: Path) -> None:
    """Its actions are known by the name of the module, its routes by nothing: 404, as for any path that nobody declares."""
    module = write(tmp_path, "things")
    (module / "actions.yaml").unlink()
    (module / "module.py").write_text(WRITTEN + "    def\n")
    async with run_gateway(modules=tmp_path) as gateway:
        is_problem(await gateway.http.post("/v1/actions/things.all"), 503, "ACTION_UNAVAILABLE")
        is_problem(await gateway.http.get("/things"), 404, "ROUTE_NOT_FOUND")


async def test_a_route_belongs_to_the_module_that_runs(run_gateway: Any, tmp_path: Path) -> None:
    """Where two modules declare the same route, the one that is left out for it does not take it from the other."""
    for name in ("first", "second"):
        change(write(tmp_path, name) / "actions.yaml", f"GET /{name}/", "GET /shared/")
    async with run_gateway(modules=tmp_path) as gateway:
        assert list(gateway.app.declarations.left_out) == ["second"]
        answer = await gateway.http.get("/shared/7", headers={"Authorization": "Bearer ada"})
        assert answer.status_code == 200, answer.text


def _told(document: dict[str, Any]) -> dict[str, Any]:
    """Return what of a problem does not differ from request to request."""
    return {key: value for key, value in document.items() if key not in {"instance", "request_id"}}
