"""Builds the document: the platform's routes as FastAPI describes them, every action beside them, and what goes with both."""

from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.document.components import Components, untitled
from stylobate_gateway.document.headers import HEADERS, headers_of
from stylobate_gateway.document.operations import action_operations
from stylobate_gateway.document.problems import problem_schemas
from stylobate_gateway.schemas.common import Problem
from stylobate_gateway.schemas.state import DESCRIBED

_COMPONENT = "#/components/schemas/"
_BEARER = "The `access_token` that `POST /v1/auth/login` answers with. Trying that out on `/docs` fills it in."
_FASTAPIS_OWN = "HTTPValidationError"


class OpenApi:
    """Builds the document again when the catalogue has changed."""

    def __init__(self, app: FastAPI, catalogue: Catalogue, version: str, *, is_open: bool) -> None:
        self._app = app
        self._catalogue = catalogue
        self._version = version
        self._built = -1
        self._is_open = is_open
        self._rendered = b""

    def rendered(self) -> bytes:
        """Return the document as JSON."""
        if self._built != self._catalogue.version:
            self._rendered = orjson.dumps(self._build())
            self._built = self._catalogue.version
        return self._rendered

    def _build(self) -> dict[str, Any]:
        document = get_openapi(
            title="Stylobate",
            version=self._version,
            summary="Actions, state, limits and hooks, declared in modules.",
            routes=self._app.routes,
        )
        schemas: dict[str, Any] = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template=_COMPONENT + "{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem} | DESCRIBED
        for operation in _operations(document):
            operation["summary"] = operation.pop("description").rstrip(".")
            # FastAPI's own, where a parameter can be of no wrong form
            if _FASTAPIS_OWN in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for schema in schemas.values():
            if "properties" in schema:
                schema["properties"] = {name: untitled(field) for name, field in schema["properties"].items()}
        components = Components(schemas)
        for action in self._catalogue.actions:
            operations = action_operations(action, self._catalogue.called[action.name], components, is_open=self._is_open)
            for (path, method), operation in operations.items():
                document["paths"].setdefault(path, {})[method] = operation
        for status, response in _responses(document):
            response["headers"] = headers_of(status, response)
        own = {refusal.reason for action in self._catalogue.actions for refusal in action.refusals}
        schemas |= problem_schemas(problem, _referred(document), own)
        document["components"]["headers"] = HEADERS
        bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": _BEARER}
        document["components"]["securitySchemes"] = {"bearer": bearer}
        document["security"] = [{"bearer": []}]
        return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _responses(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in _operations(document):
        yield from operation["responses"].items()


def _referred(document: dict[str, Any]) -> set[str]:
    """Return the names of the schemas that responses are."""
    contents = (content for _, response in _responses(document) for content in response.get("content", {}).values())
    return {content["schema"].get("$ref", "").removeprefix(_COMPONENT) for content in contents}
