"""The OpenAPI 3.1 document: FastAPI's routes, and every action with its schemas."""

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.declarations.parameters import Parameter, RouteInput

from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.schemas.common import Problem, problems

_REFERENCE = "#/$defs/"
_COMPONENT = "#/components/schemas/"
_ANY = {"description": "Any JSON value"}
_STATE: dict[str, Any] = {
    "StateObject": {
        "type": "object",
        "required": ["namespace", "key", "version", "status", "data", "created_at", "updated_at"],
        "properties": {
            "namespace": {"type": "string"},
            "key": {"type": "string"},
            "version": {"type": "integer", "minimum": 1},
            "status": {"type": "string"},
            "data": _ANY,
            "created_at": {"type": "string", "format": "date-time"},
            "updated_at": {"type": "string", "format": "date-time"},
        },
    },
    "StatePut": {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {"data": _ANY, "status": {"type": ["string", "null"]}},
    },
    "StatePatch": {"description": "A JSON merge patch (RFC 7396)"},
    "StateTransition": {"type": "object", "additionalProperties": False, "properties": {"data": _ANY}},
}


class OpenApi:
    """Builds the document again when the catalogue has changed."""

    def __init__(self, app: FastAPI, catalogue: Catalogue, version: str) -> None:
        self._app = app
        self._catalogue = catalogue
        self._version = version
        self._built = -1
        self._document: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """Return the document; what FastAPI serves at /openapi.json."""
        if self._built != self._catalogue.version:
            self._document = self._build()
            self._built = self._catalogue.version
        return self._document

    def _build(self) -> dict[str, Any]:
        document = get_openapi(
            title="Stylobate",
            version=self._version,
            summary="Actions, state, limits and hooks, declared in modules.",
            routes=self._app.routes,
        )
        components = document.setdefault("components", {})
        schemas: dict[str, Any] = components.setdefault("schemas", {})
        schemas |= _STATE | {"Problem": Problem.model_json_schema(ref_template=_COMPONENT + "{model}")}
        schemas |= schemas["Problem"].pop("$defs", {})
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        document["security"] = [{"bearer": []}]
        for action in self._catalogue.actions:
            operation = _operation(action, schemas)
            document["paths"].setdefault(f"/v1/actions/{action.name}", {})["post"] = operation
            called = self._catalogue.called[action.name]
            if (route := called.route) is not None:
                at_route = _at_route(operation, action, called.input)
                document["paths"].setdefault(route.path, {})[route.method.lower()] = at_route
        return document


def _operation(action: Action, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": action.name,
        "summary": action.summary or action.name,
        "description": f"Access: `{action.access}`." + (f" Limit: {action.rate_limit} per caller." if action.rate_limit else ""),
        "tags": [action.module],
        "responses": {
            "200": {
                "description": "The output",
                "content": {"application/json": {"schema": _hoisted(action.output_schema, schemas)}},
            }
        }
        | {str(status): response for status, response in problems(401, 403, 422, 429, 503, 504).items()},
    }
    if action.input_schema:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _hoisted(action.input_schema, schemas)}},
        }
    if action.access == "public":
        operation["security"] = []
    return operation


def _at_route(operation: dict[str, Any], action: Action, shape: RouteInput) -> dict[str, Any]:
    """Return the operation as its route takes it."""
    described = operation | {"operationId": f"{action.name}.route"}
    if not shape.is_object:
        return described
    parameters = [_parameter(parameter, "path") for parameter in shape.path]
    parameters += [_parameter(parameter, "query") for parameter in shape.query.values()]
    described["parameters"] = parameters
    if not shape.has_body:
        described.pop("requestBody", None)
    return described


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    schema = _pointed(parameter.schema)
    return {"name": parameter.name, "in": place, "required": parameter.is_required, "schema": schema}


def _hoisted(schema: bytes, schemas: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's ``$defs`` to the components and point its references there."""
    if not schema:
        return dict(_ANY)
    loaded: dict[str, Any] = _pointed(orjson.loads(schema))
    schemas |= loaded.pop("$defs", {})
    return loaded


def _pointed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inner.replace(_REFERENCE, _COMPONENT) if key == "$ref" and isinstance(inner, str) else _pointed(inner)
            for key, inner in value.items()
        }
    return [_pointed(item) for item in value] if isinstance(value, list) else value
