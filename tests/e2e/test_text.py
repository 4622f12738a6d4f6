"""Text that cannot be kept, at the HTTP door: in every path, query parameter and body field that the document lists."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.people import logged_out

IN_URL = {"U+0000": "a%00b"}
IN_BODY = {"U+0000": '"a\\u0000b"', "a lone surrogate": '"\\ud800"'}
Request = tuple[str, str, str, str]
"""Method, path with its query, JSON body, what is bad."""


def _requests(document: dict[str, Any]) -> Iterator[Request]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in {"get", "put", "post", "patch", "delete"}:
                continue
            named = operation.get("parameters", [])
            for parameter in (entry for entry in named if entry["in"] in {"path", "query"}):
                for what, text in IN_URL.items():
                    place = {entry["name"]: "orders" for entry in named if entry["in"] == "path"}
                    query = f"?{parameter['name']}={text}" if parameter["in"] == "query" else ""
                    if parameter["in"] == "path":
                        place[parameter["name"]] = text
                    yield method, _filled(path, place) + query, "{}", f"{what} as {parameter['name']}"
            for name in _body_fields(document, operation):
                for what, text in IN_BODY.items():
                    place = {entry["name"]: "orders" for entry in named if entry["in"] == "path"}
                    yield method, _filled(path, place), f"{{{json.dumps(name)}: {text}}}", f"{what} in {name}"


def _filled(path: str, place: dict[str, str]) -> str:
    for name, text in place.items():
        path = path.replace(f"{{{name}}}", text)
    return path


def _body_fields(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    yield from schema.get("properties", {})


@pytest.mark.parametrize("who", ["nobody", "somebody"])
def test_text_that_cannot_be_kept_is_no_defect(platform, person, who):
    """Whoever sends it, wherever: an answer of 4xx with a code that stays, never a defect nor a success that kept it."""
    client: httpx.Client = logged_out(platform.gateway) if who == "nobody" else person().http
    document = client.get("/openapi.json").json()
    seen = 0
    for method, path, body, what in _requests(document):
        content = {} if method in {"get", "delete"} else {"content": body, "headers": {"content-type": "application/json"}}
        answer = client.request(method.upper(), path, **content)
        seen += 1
        about = f"{method} {path} {body} ({what}): {answer.status_code} {answer.text[:200]}"
        assert 400 <= answer.status_code < 500, about
        assert answer.headers["content-type"] == "application/problem+json", about
        assert answer.json()["code"].isupper(), about
    assert seen > 40
    client.close()


def test_the_field_is_named(platform, person):
    """A filter that cannot be is 422, and says where."""
    for path in ("/v1/state/orders?status=%00", "/v1/state/orders?page_token=%00"):
        answer = person().http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_INPUT"), answer.text
        assert answer.json()["errors"], answer.text
