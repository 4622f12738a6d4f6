"""What the OpenAPI document says of each operation, and how it names what modules bring along."""

import pytest
import pytest_asyncio
from stylobate.declarations.model import NamespaceDeclaration
from stylobate_gateway.document.components import Components
from stylobate_gateway.routes.filters import queries_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERYWHERE = {"400", "405", "413", "429", "500", "503", "504"}
WITH_BODY = {"415", "422"}


@pytest_asyncio.fixture(loop_scope="module")
async def document(gateway):
    """Give the document."""
    return (await gateway.http.get("/openapi.json")).json()


def operations(document):
    """Return each operation with its path and method."""
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def codes(document, response) -> set[str]:
    """Return the codes that the schema of a problem names."""
    name = response["content"]["application/problem+json"]["schema"]["$ref"].rpartition("/")[2]
    code = document["components"]["schemas"][name]["properties"]["code"]
    return {known for branch in code["anyOf"] for known in branch.get("enum", ())}


async def test_every_answer_that_clients_must_handle_is_listed(document) -> None:
    """With its codes, whatever the operation; what needs a token says so, and no more."""
    public = {"/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/.well-known/jwks.json", "/problems/{name}"}
    public |= {"/v1/auth/password/forgot", "/v1/auth/password/reset", "/v1/auth/email/verify", "/v1/auth/first-admin"}
    public |= {"/.well-known/oauth-authorization-server"}
    for path, method, operation in operations(document):
        listed = set(operation["responses"])
        has_body = "requestBody" in operation and not path.startswith("/oauth2/")  # RFC 6749 knows 400 and 401
        expected = EVERYWHERE | (WITH_BODY if has_body else set()) | (set() if path in public else {"401"})
        assert expected <= listed, (method, path)
        for status in listed:
            if status >= "400":
                assert codes(document, operation["responses"][status]), (method, path, status)


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/v1/auth/register", "post", "409", "AUTH_EMAIL_TAKEN"),
        ("/v1/auth/login", "post", "401", "AUTH_INVALID_CREDENTIALS"),
        ("/v1/state/{namespace}/{key}", "put", "412", "STATE_VERSION_CONFLICT"),
        ("/v1/state/{namespace}/{key}", "get", "404", "STATE_NOT_FOUND"),
        ("/v1/state/{namespace}/{key}/transitions/{event}", "post", "409", "STATE_TRANSITION_NOT_ALLOWED"),
        ("/v1/actions/notes.shout", "post", "409", "NOTE_LOUD"),
        ("/v1/actions/notes.shout", "post", "409", "STATE_TRANSITION_NOT_ALLOWED"),
        ("/echo", "post", "409", "NOTE_LOST"),
        ("/count", "get", "400", "BODY_NOT_ALLOWED"),
        ("/count", "get", "504", "ACTION_TIMEOUT"),
        ("/count", "get", "400", "MALFORMED_REQUEST"),
    ],
)
async def test_the_codes_of_a_refusal_are_named(document, path, method, status, code) -> None:
    """Also those of modules, and those of what a handler calls."""
    assert code in codes(document, document["paths"][path][method]["responses"][status])


async def test_headers_of_answers_are_described(document) -> None:
    """Those that every answer has, and those that go with a status or an object."""
    of = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After", "304": "ETag"}
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            named = set(response["headers"])
            assert {"X-Request-Id", "RateLimit", "RateLimit-Policy"} <= named, (method, path, status)
            assert of.get(status, "X-Request-Id") in named, (method, path, status)
    written = document["paths"]["/v1/state/{namespace}/{key}"]["put"]["responses"]["200"]
    assert "ETag" in written["headers"]
    assert set(document["components"]["headers"]) >= {*of.values(), "X-Request-Id", "RateLimit", "RateLimit-Policy"}


async def test_answers_have_real_schemas(document) -> None:
    """Nothing that succeeds is just anything, but the output of an action that says so; keys have their own type."""
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status < "300" and "/v1/state" in path + "/v1/auth":
                assert all(content["schema"] for content in response.get("content", {}).values()), path
    keys = document["paths"]["/.well-known/jwks.json"]["get"]["responses"]["200"]["content"]
    assert list(keys) == ["application/jwk-set+json"]
    for path in ("/v1/actions", "/v1/modules", "/v1/state/{namespace}", "/v1/state/{namespace}/{key}/history"):
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        page = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert {"items", "next_page_token"} == set(page["required"])


async def test_who_needs_no_token_is_asked_for_none(document) -> None:
    """Public operations ask for none, state objects perhaps, accounts for a person's token, the rest for that or a key."""
    keys = [{"bearer": []}, {"apiKey": []}, {"oauth2": []}, {"cookie": []}]
    assert document["security"] == keys
    key = document["components"]["securitySchemes"]["apiKey"]
    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "X-API-Key")
    for path in ("/v1/auth/login", "/.well-known/jwks.json", "/v1/actions", "/problems/{name}", "/count"):
        assert [one["security"] for one in document["paths"][path].values()] == [[]], path
    assert document["paths"]["/v1/state/{namespace}"]["get"]["security"] == [*keys, {}]
    assert "security" not in document["paths"]["/v1/bans"]["get"]
    assert document["paths"]["/v1/auth/me"]["get"]["security"] == [{"bearer": []}, {"cookie": []}]


async def test_operations_have_stable_names_of_their_own(document) -> None:
    """Generated clients call their methods by them."""
    ids = {operation["operationId"] for _, _, operation in operations(document)}
    assert {"register", "login", "me", "list_objects", "put_object", "list_actions", "notes.echo", "notes.echo.route"} <= ids


async def test_a_namespace_may_be_called_as_objects_are() -> None:
    """The names of its operations are its own, whatever else the document names, and those of other namespaces stay."""
    general = {"list_objects": "/v1/state/{namespace}", "watch_objects": "/v1/state/{namespace}/watch"}
    general |= {"watch_object": "/v1/state/{namespace}/{key}/watch", "list_bans": "/v1/bans"}
    paths = {path: {"get": {"operationId": name, "parameters": []}} for name, path in general.items()}
    declared = [NamespaceDeclaration(name, "shop") for name in ("objects", "object", "bans", "a-b", "a_b", "orders")]
    found = {path: item["get"]["operationId"] for path, item in queries_of(declared, paths).items()}
    assert len({*found.values(), *general}) == len(found) + len(general)
    assert found["/v1/state/objects"] == "list_of_objects"
    assert found["/v1/state/orders/watch"] == "watch_orders"


async def test_a_route_is_described_as_it_is_called(document) -> None:
    """Parameters of path and query with their schemas, no body where none is taken, and of a body what the path leaves."""
    listed = document["paths"]["/slots"]["get"]
    parameters = {parameter["name"]: parameter for parameter in listed["parameters"]}
    assert "requestBody" not in listed
    assert {(name, p["in"], p["required"]) for name, p in parameters.items() if p["required"]} == {("doctor", "query", True)}
    assert parameters["rooms"]["schema"]["type"] == "array"
    assert parameters["kind"]["schema"]["$ref"] == "#/components/schemas/slots.Kind"
    booked = document["paths"]["/slots/{slot_id}/bookings"]["post"]
    assert [(p["name"], p["in"]) for p in booked["parameters"]] == [("slot_id", "path"), ("Idempotency-Key", "header")]
    body = booked["requestBody"]["content"]["application/json"]["schema"]
    assert (set(body["properties"]), body["required"]) == ({"patient"}, ["patient"])


async def test_defaults_make_no_field_required(document) -> None:
    """Generators take a field with a default for one that is always there: inputs tell theirs in words."""
    for name in ("Register", "slots.ListSlots"):
        for field in document["components"]["schemas"].get(name, {"properties": {}})["properties"].values():
            assert "default" not in field


def read(components: Components, module: str, schema: bytes, *, is_input: bool = False):
    """Return the name of the component that a schema becomes."""
    return components.read(module, schema, is_input=is_input).whole()["$ref"].rpartition("/")[2]


async def test_what_is_called_alike_is_told_apart() -> None:
    """Of the platform, of two modules, of the two sides of one: no schema takes another's name."""
    schemas = {"User": {"type": "object"}}
    components = Components(schemas)
    user = b'{"title": "User", "type": "object", "properties": {"n": {"$ref": "#/$defs/Name"}}, "$defs": {"Name": %s}}'
    text, number = user % b'{"type": "string", "maxLength": 9}', user % b'{"type": "integer"}'
    assert read(components, "clinic", text) == "clinic.User"
    assert read(components, "shop", text) == "shop.User"
    assert read(components, "clinic", text) == "clinic.User"
    assert read(components, "clinic", number, is_input=True) == "clinic.UserInput"
    assert read(components, "clinic", user % b'{"type": "null"}', is_input=True) == "clinic.UserInput2"
    assert schemas["User"] == {"type": "object"}
    assert schemas["clinic.User"]["properties"]["n"] == {"$ref": "#/components/schemas/clinic.Name"}
    assert schemas["clinic.UserInput"]["properties"]["n"] == {"$ref": "#/components/schemas/clinic.NameInput"}


async def test_a_schema_may_refer_to_itself() -> None:
    """A tree of nodes is one component."""
    schemas: dict = {}
    tree = b'{"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}}}'
    assert read(Components(schemas), "m", tree) == "m.Node"
    assert schemas["m.Node"]["properties"]["next"] == {"$ref": "#/components/schemas/m.Node"}
