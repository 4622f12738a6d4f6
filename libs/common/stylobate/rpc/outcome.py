# ruff: noqa: D102  most methods are documented by grpc.aio
"""What a caller holds of a call that is not grpc.aio's own: everything is told from one future."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import grpc
import grpc.aio

from stylobate.rpc.method import Decode

_CANCELLED = "Locally cancelled by application!"
EXPIRED = "Deadline Exceeded"


class OutcomeCall(grpc.aio.Call):
    """A call; what came of it lies in one future: the encoded response or the error, so that nobody has to ask for either."""

    outcome: "asyncio.Future[bytes | grpc.aio.AioRpcError]"

    def drop(self) -> None:
        """Let whoever serves it know that nobody waits any more."""
        raise NotImplementedError

    def trailing(self) -> Any:
        """Return the metadata that came behind the response."""
        raise NotImplementedError

    def cancel(self) -> bool:
        """Give the call up: waiting for it raises CancelledError, the handler is cancelled."""
        if self.outcome.done():
            return False
        self.outcome.cancel()
        self.drop()
        return True

    # as grpc.aio has it

    def cancelled(self) -> bool:
        return self.outcome.cancelled()

    def done(self) -> bool:
        return self.outcome.done()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.outcome.add_done_callback(lambda _: callback(self))

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        error = await self._error()
        return grpc.aio.Metadata(*self.trailing()) if error is None else error.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        error = await self._error()
        return grpc.StatusCode.OK if error is None else error.code()

    async def details(self) -> str:
        error = await self._error()
        return "" if error is None else error.details() or ""

    async def wait_for_connection(self) -> None:
        """Return at once: it is there, or none is needed."""

    async def _error(self) -> grpc.aio.AioRpcError | None:
        await asyncio.wait([self.outcome])
        if self.outcome.cancelled():
            return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), _CANCELLED)
        result = self.outcome.result()
        return result if isinstance(result, grpc.aio.AioRpcError) else None


class UnaryOutcomeCall(OutcomeCall, grpc.aio.UnaryUnaryCall[Any, Any]):
    """A call with one response."""

    decode: Decode

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the response. Raises AioRpcError; CancelledError when the call was cancelled on this side."""
        outcome = self.outcome
        if not outcome.done():
            try:
                yield from outcome
            except asyncio.CancelledError:
                self.drop()
                raise
        result = outcome.result()
        if isinstance(result, bytes):
            return self.decode(result) if self.decode is not None else result
        raise again(result)


def again(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """Return an error like it, which its call does not keep: else call and traceback keep each other for the collector."""
    return grpc.aio.AioRpcError(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())
