"""The OpenAPI document, and what stands beside the API: docs, home, keys."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import jwt
import pytest
from fastapi.openapi.models import OpenAPI

from tests.people import logged_out

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
ACTIONS = {
    "shop.place_order",
    "shop.pay_order",
    "shop.ship_order",
    "shop.cancel_order",
    "shop.orders_to_ship",
    "shop.replace_order",
}


@pytest.fixture
def nobody(platform):
    """Give a client without a token."""
    with logged_out(platform.gateway) as client:
        yield client


@pytest.fixture
def document(nobody) -> dict[str, Any]:
    """Give the document."""
    answer = nobody.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def _within(value: Any) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner)


def _operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method]


def _schemas(document: dict) -> Iterator[Any]:
    yield from document["components"]["schemas"].values()
    yield from (part["schema"] for part in _within(document["paths"]) if isinstance(part.get("schema"), dict))


def test_document_is_openapi_3_1(document):
    """It has the structure of OpenAPI 3.1, each schema is one of JSON Schema 2020-12, and every reference leads somewhere."""
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    OpenAPI.model_validate(document)
    for schema in _schemas(document):
        jsonschema_rs.meta.validate(schema)
    for part in _within(document):
        if isinstance(reference := part.get("$ref"), str):
            target: Any = document
            for step in reference.removeprefix("#/").split("/"):
                target = target[step.replace("~1", "/").replace("~0", "~")]


def test_operations_are_told_apart_and_complete(document):
    """Operation ids are unique, each parameter of a path is declared, and what can go wrong is a problem document."""
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(ids) == len(set(ids))
    for path, _, operation in _operations(document):
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in response["content"], (path, status)


def test_credentials_and_forms_of_oauth_are_told(document):
    """Keys, tokens for programs, cookies with their CSRF token for changes; a person's things take no key."""
    schemes = document["components"]["securitySchemes"]
    assert schemes["oauth2"]["flows"]["clientCredentials"]["tokenUrl"] == "/oauth2/token"
    assert (schemes["cookie"]["in"], schemes["cookie"]["name"]) == ("cookie", "stylobate_access")
    everything = [{"bearer": []}, {"apiKey": []}, {"oauth2": []}]
    paths = document["paths"]
    assert document["security"] == [*everything, {"cookie": []}]
    assert "security" not in paths["/v1/audit"]["get"]
    assert paths["/v1/actions/shop.ship_order"]["post"]["security"] == [*everything, {"cookie": [], "csrf": []}]
    assert paths["/v1/auth/me"]["get"]["security"] == [{"bearer": []}, {"cookie": []}]
    assert paths["/v1/auth/login"]["post"]["security"] == []
    assert paths["/v1/state/{namespace}"]["get"]["security"][-1] == {}
    for name, form in (("token", "OAuthTokenForm"), ("introspect", "OAuthTokenQuestion"), ("revoke", "OAuthTokenQuestion")):
        taken = paths[f"/oauth2/{name}"]["post"]["requestBody"]["content"]
        assert taken == {"application/x-www-form-urlencoded": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
        assert set(paths[f"/oauth2/{name}"]["post"]["responses"]["401"]["content"]) == {"application/json"} | {
            "application/problem+json"
        }


def test_every_action_stands_with_its_schemas(document, nobody):
    """Each action has its operation with input, output and limit; a declared route is listed too."""
    for name in ACTIONS:
        operation = document["paths"][f"/v1/actions/{name}"]["post"]
        is_question = name == "shop.orders_to_ship"
        assert operation["operationId"] == name
        assert is_question or operation["requestBody"]["content"]["application/json"]["schema"]
        answered = "shop.Orders" if is_question else "shop.Order"
        assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
            "$ref": f"#/components/schemas/{answered}"
        }
    assert "30/minute" in document["paths"]["/v1/actions/shop.place_order"]["post"]["description"]
    assert "post" in document["paths"]["/orders"]
    assert {"shop.Order", "shop.PlaceOrder", "shop.OrderReference", "Problem", "StateObject"} <= set(
        document["components"]["schemas"]
    )


def test_real_answers_fit_the_document(document, person):
    """An order, a state object and a problem are what their schemas in the document say."""

    def valid(name: str, value: Any) -> None:
        jsonschema_rs.validate({"$ref": f"#/components/schemas/{name}", "components": document["components"]}, value)

    ada = person()
    placed = ada.http.post("/orders", json={"items": [{"sku": "tea", "quantity": 3}]})
    assert placed.status_code == 200
    valid("shop.Order", placed.json())
    valid("StateObject", ada.http.get(f"/v1/state/orders/{placed.json()['id']}").json())
    valid("Problem", ada.http.get("/v1/state/nowhere/1").json())
    valid("Problem", ada.act("shop.place_order", {"items": []}).json())
    valid("User", ada.http.get("/v1/auth/me").json())


def test_catalogue_lists_actions_and_modules(person):
    """`GET /v1/actions` shows each action with access, limit and schemas; `GET /v1/modules` shows the module running."""
    ada = person()
    listed = {item["name"]: item for item in ada.http.get("/v1/actions").json()["items"]}
    assert set(listed) == ACTIONS
    place = listed["shop.place_order"]
    assert (place["route"], place["access"], place["rate_limit"]) == ("POST /orders", "orders:create", "30/minute")
    assert place["timeout_seconds"] == 5
    jsonschema_rs.meta.validate(place["input"])
    assert ada.http.get("/v1/actions/shop.place_order").json() == place
    first = ada.http.get("/v1/actions?page_size=3").json()
    rest = ada.http.get("/v1/actions", params={"page_size": 3, "page_token": first["next_page_token"]}).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == sorted(ACTIONS)
    assert rest["next_page_token"] is None
    modules = ada.http.get("/v1/modules").json()["items"]
    assert [(module["name"], module["status"]) for module in modules] == [("shop", "healthy")]


def test_docs_work_without_the_internet(nobody):
    """`/docs` is a page whose scripts and styles come from the gateway itself."""
    page = nobody.get("/docs")
    assert page.status_code == 200
    assert "swagger" in page.text.lower()
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    for source in sources:
        assert source.startswith("/"), source
        assert nobody.get(source).status_code == 200


def test_home_page_shows_what_runs(nobody):
    """`/` in development names the module, its actions and where to go on."""
    page = nobody.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert [word for word in ("shop", "/docs", "/openapi.json", "stylobate demo", "30/minute") if word not in page.text] == []


def test_keys_verify_access_tokens(nobody, person):
    """An access token is verified with the published keys alone, by any JOSE library (RFC 7517, RFC 9068)."""
    ada = person()
    keys = nobody.get("/.well-known/jwks.json")
    assert "max-age" in keys.headers["cache-control"]
    by_id = {key["kid"]: key for key in keys.json()["keys"]}
    header = jwt.get_unverified_header(ada.token)
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert "d" not in by_id[header["kid"]]
    issuer = nobody.get("/.well-known/oauth-authorization-server").json()["issuer"]
    claims = jwt.decode(ada.token, jwt.PyJWK(by_id[header["kid"]]).key, ["EdDSA"], audience="stylobate", issuer=issuer)
    assert (claims["sub"], claims["tenant"], claims["roles"]) == (ada.id, "default", ["user"])
    assert claims["exp"] - claims["iat"] == pytest.approx(600, abs=1)
