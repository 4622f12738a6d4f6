"""Routes whose request is a body and nothing else: answered without FastAPI's way of finding and solving them.

That way costs several times what such a route does itself. All routes before it are tried, parameters are looked up, and two
stacks of contexts are made for each request. The answer, which is a model already, is checked against that model again.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from stylobate_gateway.idempotency import changing

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def plain(route: APIRoute) -> Handler | None:
    """Return what answers requests as FastAPI's handler of the route does, for one that takes a body and the exchange; else None.

    What does not fit is refused in FastAPI's words: RequestValidationError.
    """
    asked = route.dependant
    named = (asked.path_params, asked.query_params, asked.header_params, asked.cookie_params, asked.response_param_name)
    if any(named) or len(asked.body_params) != 1 or [one.call for one in asked.dependencies] != [changing]:
        return None
    body, given = asked.body_params[0], asked.dependencies[0].name
    model = body.field_info.annotation
    if given is None or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    call, name, status = route.endpoint, body.name, route.status_code or 200

    async def answer(request: Request) -> Response:
        value = getattr(request, "_json", None)  # where it was put by who read it
        if value is None:
            raise RequestValidationError([{"loc": ("body",), "msg": "Field required"}])
        try:
            found = model.model_validate(value, from_attributes=True)  # the words are other ones without
        except ValidationError as error:
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
        result = await call(**{name: found, given: request.scope["stylobate"]})
        if isinstance(result, Response):
            return result
        return Response(result.model_dump_json(by_alias=True), status, media_type="application/json")

    return answer
