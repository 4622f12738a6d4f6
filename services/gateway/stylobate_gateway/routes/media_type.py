"""Which bodies a route takes."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from stylobate import strict_json
from stylobate.errors import InvalidInputError, MalformedJsonError, UnsupportedMediaTypeError

from stylobate_gateway.errors import ContentCodingUnsupportedError
from stylobate_gateway.exchange import exchange_of


def takes(*media_types: str, is_needed: bool = True) -> Any:
    """Return a dependency that refuses a body of any other type (415), or that is not JSON by the platform's rules (400, 422).

    :param is_needed: whether a request without a body is refused too.
    """

    async def check(request: Request) -> None:
        await _check(request, media_types)
        if is_needed and not await request.body():
            raise MalformedJsonError("The body is missing.")

    return Depends(check)


class JsonRoute(APIRoute):
    """A route whose body FastAPI reads: it is held to the same rules before that."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            await _check(request, ("application/json",))
            return await handle(request)

        return checked


async def _check(request: Request, media_types: Collection[str]) -> None:
    body = await request.body()
    if not body:
        return
    exchange = exchange_of(request.scope)
    if exchange.media_type not in media_types:
        raise UnsupportedMediaTypeError(f"The body must be {' or '.join(media_types)}.")
    if exchange.is_coded:
        raise ContentCodingUnsupportedError
    try:
        strict_json.loads(body)
    except strict_json.JsonMalformedError as error:
        raise MalformedJsonError(f"The body is not valid JSON: {error}") from None
    except strict_json.JsonRefusedError as error:
        raise InvalidInputError(violations=[error.violation]) from None
