"""Routes whose request is a body and nothing else: answered without FastAPI's way of finding and solving them.

That way costs several times what such a route does itself. All routes before it are tried, parameters are looked up, and two
stacks of contexts are made for each request. The answer, which is a model already, is checked against that model again.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from stylobate_gateway.idempotency import Changing

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def plain(path: str, endpoint: Callable[..., Any], status_code: int | None = None) -> Handler | None:
    """Return what answers requests as FastAPI's handler of the route does, for one that takes a body and the exchange; else None.

    What does not fit is refused in FastAPI's words: RequestValidationError. Read from the annotations alone, for FastAPI's own
    reading of a route takes a millisecond.
    """
    asked = {name: annotation for name, annotation in endpoint.__annotations__.items() if name != "return"}
    given = next((name for name, annotation in asked.items() if annotation is Changing), None)
    if given is None or len(asked) != 2 or "{" in path or endpoint.__defaults__ or endpoint.__kwdefaults__:  # noqa: PLR2004
        return None
    name, model = next((name, annotation) for name, annotation in asked.items() if name != given)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    status = status_code or 200

    async def answer(request: Request) -> Response:
        value = getattr(request, "_json", None)  # where it was put by who read it
        if value is None:
            raise RequestValidationError([{"loc": ("body",), "msg": "Field required"}])
        try:
            found = model.model_validate(value, from_attributes=True)  # the words are other ones without
        except ValidationError as error:
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
        result = await endpoint(**{name: found, given: request.scope["stylobate"]})
        if isinstance(result, Response):
            return result
        return Response(result.model_dump_json(by_alias=True), status, media_type="application/json")

    return answer
