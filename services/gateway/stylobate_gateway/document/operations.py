"""An action in the document: at its name, and at its route."""

from typing import Any

from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.declarations.parameters import Parameter

from stylobate_gateway.called_action import CalledAction
from stylobate_gateway.document.components import Components, ModuleSchema
from stylobate_gateway.document.problems import refuses

ENTRY = "#/components/schemas/ActionEntry"
_ANY = {"description": "Any JSON value"}
_FROM_HANDLERS = (403, 404, 409, 412, 422)


def action_operations(
    action: Action, called: CalledAction, components: Components, *, is_open: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the action's operations by path and method. ``is_open`` says whether the catalogue needs no token."""
    described = _described(action, components)
    taken = components.read(action.module, action.input_schema, is_input=True) if action.input_schema else None
    by_name = described | {"operationId": action.name, "responses": _responses(described, has_body=True)}
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
    answer = {"description": "The action", "content": {"application/json": {"schema": {"$ref": ENTRY}}}}
    refused = {str(status): response for status, response in refuses("Actions", 404).items()}
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


def _responses(described: dict[str, Any], *, has_body: bool) -> dict[str, Any]:
    refused = refuses("Actions", *_FROM_HANDLERS, has_body=has_body)
    return {**described["responses"]} | {str(status): response for status, response in refused.items()}


def _at_route(action: Action, called: CalledAction, described: dict[str, Any], taken: ModuleSchema | None) -> dict[str, Any]:
    shape = called.input
    operation = described | {"operationId": f"{action.name}.route", "responses": _responses(described, has_body=shape.has_body)}
    if taken is None:
        return operation
    parameters = [_parameter(parameter, "path", taken) for parameter in shape.path]
    parameters += [_parameter(parameter, "query", taken) for parameter in shape.query.values()]
    if parameters:
        operation["parameters"] = parameters
    if shape.has_body:
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
