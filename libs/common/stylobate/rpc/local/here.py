"""Work in bulk that stays in its process: handed to the servicer as it is, without a message and without a call for it.

A call has a fixed cost, and the platform's own code makes the same ones all the time. Who may call is still decided by the
pipeline: this way opens after an ordinary call with the same token was answered, and only while that token is the one in use.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylobate.rpc.local.unary import LocalUnaryMethod


class Here:
    """The way to a method's servicer in this process: see ``HERE`` of :meth:`stylobate.rpc.Servicers.register`.

    :param ask: calls the method in the ordinary way, as :func:`stylobate.rpc.caller.asking` has it.
    :param token: makes this service's tokens for the one that is called.
    """

    def __init__(self, method: "LocalUnaryMethod", ask: Callable[..., Awaitable[Any]], token: Callable[[], str]) -> None:
        self._method = method
        self._ask = ask
        self._token = token
        self._proven: str | None = None
        """The token of the last ordinary call that was answered."""

    @property
    def handler(self) -> Callable[..., Awaitable[Any]] | None:
        """What takes plain values now; None: ask in the ordinary way."""
        return self._method.here if self._token() is self._proven else None

    async def ask(self, request: Any, **options: Any) -> Any:
        """Call in the ordinary way, with a timeout in seconds and metadata. Raises what the method raises."""
        token = self._token()
        response = await self._ask(request, **options)
        self._proven = token
        return response
