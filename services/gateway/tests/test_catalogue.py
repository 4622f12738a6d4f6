"""The catalogue of actions: routes that modules declare, the OpenAPI document, and what holds while actions is away."""

import asyncio
from urllib.parse import unquote

import jsonschema_rs
import pytest
from stylobate.api.actions.v1.action_service_pb2 import Action, ListActionsRequest, ListActionsResponse
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceServicer, add_ActionServiceServicer_to_server
from stylobate.app.memory_app import NamedTokens, ServiceName, ServiceTokens
from stylobate.errors import UnavailableError
from stylobate.health import Status
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers, standard_interceptors
from stylobate_gateway.called_actions import Found
from stylobate_gateway.catalogue import Catalogue

pytestmark = pytest.mark.asyncio(loop_scope="module")
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


def resolve(document, reference: str):
    """Return what a local reference names. Raises KeyError where it names nothing."""
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[unquote(part).replace("~1", "/").replace("~0", "~")]
    return found


def references(value):
    """Yield every reference in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_the_document_holds_together(gateway) -> None:
    """OpenAPI 3.1: every reference resolves, ids are unique, every schema is one, every path parameter is declared."""
    document = (await gateway.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for reference in references(document):
        resolve(document, reference)
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids))
    for path, _, operation in operations:
        named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert operation["responses"]
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name


async def test_every_action_is_in_the_document(gateway) -> None:
    """By its name and at its route, with its schemas; one that is public asks for no token."""
    paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    assert paths["/v1/actions/notes.echo"]["post"]["security"] == []
    assert {"bearer": []} in paths["/v1/actions/notes.whoami"]["post"]["security"]
    assert paths["/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "get" in paths["/count"]
    operations = [operation for path, item in paths.items() if not path.startswith("/oauth2/") for operation in item.values()]
    problems = [answer for one in operations for status, answer in one["responses"].items() if status.startswith(("4", "5"))]
    assert problems
    assert all(set(answer["content"]) == {"application/problem+json"} for answer in problems)


async def test_declared_routes_run_their_action(gateway) -> None:
    """The body is the input and the bare output the answer."""
    answer = await gateway.http.post("/echo", json={"inner": {"a": [1, "ä"]}})
    assert (answer.status_code, answer.json()) == (200, {"inner": {"a": [1, "ä"]}})
    listed = (await gateway.http.get("/v1/actions?page_size=2")).json()
    assert len(listed["items"]) == 2
    assert listed["next_page_token"]
    one = (await gateway.http.get("/v1/actions/notes.echo")).json()
    assert (one["route"], one["access"]) == ("POST /echo", "public")
    assert one["input"]


async def test_before_the_catalogue_is_read_nobody_knows_the_routes(run_gateway, is_problem) -> None:
    """A route that an action may have is not denied while actions is away: 503 and a time to retry; the platform's own are."""
    async with run_gateway(services=("state",)) as gateway:
        answer = await gateway.http.post("/echo", json={})
        is_problem(answer, 503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        is_problem(await gateway.http.get("/v1/nothing"), 404, "ROUTE_NOT_FOUND")
        assert (await gateway.http.get("/openapi.json")).status_code == 200
        assert (await gateway.app.checks["catalogue"]()).status is Status.DEGRADED


class _Actions(ActionServiceServicer):
    """An actions service that can go away and come back with others."""

    def __init__(self) -> None:
        self.routes: list[str] | None = ["POST /one"]
        self.asked = asyncio.Event()

    async def ListActions(self, request: ListActionsRequest, context):  # noqa: N802
        self.asked.set()
        if self.routes is None:
            raise UnavailableError
        return ListActionsResponse(actions=[Action(name=f"a.{route[-3:]}", module="a", route=route) for route in self.routes])


async def test_what_was_read_last_holds_while_actions_is_away() -> None:
    """Routes stay, health says what is wrong, and a changed catalogue is taken over when actions is back."""
    actions = _Actions()
    servicers = Servicers(standard_interceptors(NamedTokens(), ServiceTokens()))
    methods = [name for name in dir(ActionServiceServicer) if name[0].isupper()]
    servicers.register(add_ActionServiceServicer_to_server, actions, dict.fromkeys(methods, RpcAccess.PUBLIC))
    server = LocalServer(servicers)
    await server.start()
    catalogue = Catalogue(CallerChannel(LocalChannel(server), ServiceName("gateway").token), 0.001)
    reading = asyncio.create_task(catalogue.run())

    async def look_again() -> None:
        for _ in range(2):  # the first may have been under way
            actions.asked.clear()
            await asyncio.wait_for(actions.asked.wait(), 60)
        await asyncio.sleep(0.01)

    def routes() -> dict[str, str]:
        found = {path: catalogue.routes.find("POST", path, path.encode()) for path in ("/one", "/two")}
        return {path: match.action.name for path, match in found.items() if isinstance(match, Found)}

    await look_again()
    assert routes() == {"/one": "a.one"}
    assert (await catalogue.health()).status is Status.HEALTHY
    version = catalogue.version
    actions.routes = None
    await look_again()
    assert routes() == {"/one": "a.one"}
    assert "UNAVAILABLE" in (await catalogue.health()).details
    actions.routes = ["POST /two"]
    await look_again()
    assert routes() == {"/two": "a.two"}
    assert catalogue.version == version + 1
    reading.cancel()
    await server.stop(0)
