"""Builds the document: the platform's routes as FastAPI describes them, every action beside them, and what goes with both."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.declarations.parameters import Parameter

from stylobate_gateway.called_actions import CalledAction
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.document.answers import HEADERS, headers_of, problem_schemas, refuses
from stylobate_gateway.document.components import Components, ModuleSchema, untitled
from stylobate_gateway.document.credentials import secure
from stylobate_gateway.idempotency import DESCRIPTION, FORM, NAME
from stylobate_gateway.routes.filters import queries_of
from stylobate_gateway.schemas.common import Problem
from stylobate_gateway.schemas.oauth import FORMS
from stylobate_gateway.schemas.state import DESCRIBED

_COMPONENT = "#/components/schemas/"
_FASTAPIS_OWN = "HTTPValidationError"
_ENTRY = "#/components/schemas/ActionEntry"
_ANY = {"description": "Any JSON value"}
_FROM_HANDLERS = (403, 404, 409, 412, 422)
_KEY = {"name": NAME, "in": "header", "required": False, "description": DESCRIPTION, "schema": {"type": "string"} | FORM}


class OpenApi:
    """Builds the document again when the catalogue has changed.

    :param routes: of the platform; all of them are there when it is built.
    :param namespaces: of state objects: lists of those with indexes are described each by themselves.
    :param cookie: the one that holds the access token of a session of a browser; empty: there are none.
    """

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        catalogue: Catalogue,
        version: str,
        *,
        is_open: bool,
        namespaces: Iterable[NamespaceDeclaration] = (),
        cookie: str = "",
    ) -> None:
        self._routes = routes
        self._catalogue = catalogue
        self._version = version
        self._built = -1
        self._namespaces = [namespace for namespace in namespaces if namespace.indexes]
        self._is_open = is_open
        self._cookie = cookie
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
            routes=self._routes,
        )
        schemas: dict[str, Any] = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template=_COMPONENT + "{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem} | DESCRIBED | FORMS
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
        document["paths"] |= queries_of(self._namespaces, document["paths"])
        components = Components(schemas)
        for action in self._catalogue.actions:
            operations = _operations_of(action, self._catalogue.called[action.name], components, is_open=self._is_open)
            for (path, method), operation in operations.items():
                document["paths"].setdefault(path, {})[method] = operation
        for operation in _operations(document):
            takes_key = any(parameter["name"] == NAME for parameter in operation.get("parameters", ()))
            for status, response in operation["responses"].items():
                response["headers"] = headers_of(status, response, takes_key=takes_key)
        schemas |= problem_schemas(problem, _referred(document), set(self._catalogue.rules))
        document["components"]["headers"] = HEADERS
        secure(document, self._cookie)
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


def _operations_of(
    action: Action, called: CalledAction, components: Components, *, is_open: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the action's operations by path and method. ``is_open`` says whether the catalogue needs no token."""
    described = _described(action, components)
    taken = components.read(action.module, action.input_schema, is_input=True) if action.input_schema else None
    by_name = described | {"operationId": action.name, "responses": _answers(described, has_body=True)}
    if not action.refuses_keys:
        by_name["parameters"] = [_KEY]
    if taken is not None:
        by_name["requestBody"] = _body(taken.whole())
    path = f"/v1/actions/{action.name}"
    operations = {(path, "post"): by_name, (path, "get"): _entry(action.name, is_open=is_open)}
    if called.route is not None:
        by_name["x-stylobate-route"] = str(called.route)
        operations[called.route.path, called.route.method.lower()] = _at_route(action, called, described, taken)
    return operations


def _entry(name: str, *, is_open: bool) -> dict[str, Any]:
    """Return the operation that `GET /v1/actions/{name}` is for this name: a path that is spelled out stands for itself."""
    answer = {"description": "The action", "content": {"application/json": {"schema": {"$ref": _ENTRY}}}}
    refused = {str(status): response for status, response in refuses("Actions", 404, 422).items()}
    return {
        "operationId": f"{name}.entry",
        "summary": f"The catalogue's entry of {name}",
        "tags": ["actions"],
        "responses": {"200": answer} | refused,
        "x-stylobate-entry": True,
    } | ({"security": []} if is_open else {})


def _described(action: Action, components: Components) -> dict[str, Any]:
    limit = f" Limit: {action.rate_limit} per caller." if action.rate_limit else ""
    output: dict[str, Any] = dict(_ANY)
    if action.output_schema:
        output = components.read(action.module, action.output_schema, is_input=False).whole()
    operation: dict[str, Any] = {
        "summary": action.summary or action.name,
        "description": f"Access: `{action.access}`.{limit}",
        "tags": [action.module],
        "responses": {"200": {"description": "The output", "content": {"application/json": {"schema": output}}}},
    }
    if action.access == "public":
        operation["security"] = []
    return operation


def _answers(described: dict[str, Any], *, has_body: bool) -> dict[str, Any]:
    refused = refuses("Actions", *_FROM_HANDLERS, has_body=has_body)
    own = {status: dict(response) for status, response in described["responses"].items()}
    return own | {str(status): response for status, response in refused.items()}


def _at_route(action: Action, called: CalledAction, described: dict[str, Any], taken: ModuleSchema | None) -> dict[str, Any]:
    shape = called.input
    operation = described | {"operationId": f"{action.name}.route", "responses": _answers(described, has_body=shape.has_body)}
    parameters = []
    if taken is not None:
        parameters += [_parameter(parameter, "path", taken) for parameter in shape.path]
        parameters += [_parameter(parameter, "query", taken) for parameter in shape.query.values()]
    if called.route is not None and called.route.method != "GET" and not action.refuses_keys:
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = parameters
    if shape.has_body and taken is not None:
        if not shape.path:
            operation["requestBody"] = _body(taken.whole())
        elif (rest := taken.without({parameter.name for parameter in shape.path})) is not None:
            operation["requestBody"] = _body(rest, is_required=bool(rest.get("required")))
    return operation


def _parameter(parameter: Parameter, place: str, taken: ModuleSchema) -> dict[str, Any]:
    schema = _not_null(taken.part(parameter.schema))
    described = {"name": parameter.name, "in": place, "required": parameter.is_required, "schema": schema}
    if isinstance(schema, dict) and schema.get("description"):
        described["description"] = schema["description"]
    return described


def _not_null(schema: Any) -> Any:
    """Return the schema without null, which no URL says: who means it leaves the parameter out."""
    choices = schema.get("anyOf", ()) if isinstance(schema, dict) else ()
    others = [choice for choice in choices if choice != {"type": "null"}]
    if len(others) != 1 or len(others) == len(choices):
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **others[0]}


def _body(schema: dict[str, Any], *, is_required: bool = True) -> dict[str, Any]:
    return {"required": is_required, "content": {"application/json": {"schema": schema}}}
