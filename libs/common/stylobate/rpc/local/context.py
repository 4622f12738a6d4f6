# ruff: noqa: D102  most methods are documented by grpc.aio
"""What a handler is given beside the request when the call is local."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Never

import grpc
import grpc.aio

from stylobate.rpc.call import Call, HandedOn
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Metadata


class LocalContext(grpc.aio.ServicerContext[Any, Any]):
    """The servicer's side of one local call; behaves as a real server's context does."""

    # Class attributes are the defaults: a call pays only for what it sets.
    address = "local:"
    """Of the caller, as gRPC core writes it."""
    write_to: Callable[[bytes], Awaitable[None]] | None = None
    """Where the messages of a stream go."""
    _initial: Metadata | None = None
    _trailing: Metadata = ()
    _code: grpc.StatusCode | None = None
    _details = ""
    _is_aborted = False
    _is_done = False
    _on_initial: asyncio.Future[None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, invocation: Metadata | HandedOn | Call, deadline: float | None) -> None:
        self._loop = loop
        self.invocation = invocation
        """The metadata as they came, or what came in their place: a call that is handed on, or one that is admitted."""
        self.deadline = deadline
        """On the loop's clock; None: there is none."""

    # for the handler and the pipeline, as grpc.aio has it

    def invocation_metadata(self) -> Any:
        came = self.invocation
        return tuple(came.metadata().items()) if type(came) is HandedOn else () if type(came) is Call else came

    def time_remaining(self) -> Any:
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        if self._initial is not None:
            raise grpc.aio.UsageError("initial metadata was sent already")
        self._set_initial(tuple(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._trailing

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Never:
        if self._is_aborted:
            raise grpc.aio.UsageError("the call was aborted already")
        self._is_aborted = True
        self._code, self._details = code, details or self._details
        self._trailing = tuple(trailing_metadata) or self._trailing
        raise grpc.aio.AbortError("locally aborted")

    async def abort_with_status(self, status: grpc.Status) -> Never:
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def write(self, message: bytes) -> None:
        if self.write_to is None or self._is_aborted:
            raise grpc.aio.UsageError("nothing can be written to this call")
        if len(message) > MAX_MESSAGE_BYTES:
            await self.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(message))
        if self._initial is None:
            self._set_initial(())
        await self.write_to(message)  # waits while the caller has enough to read

    async def read(self) -> Any:
        raise grpc.aio.UsageError("this call has one request")

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    def done(self) -> bool:
        return self._is_done

    def set_compression(self, compression: grpc.Compression) -> None:
        """Ignore: nothing is compressed inside a process."""

    def disable_next_message_compression(self) -> None:
        """Ignore: nothing is compressed inside a process."""

    def peer(self) -> str:
        return self.address

    def peer_identities(self) -> Iterable[bytes] | None:
        return None  # no transport vouches for the caller

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    # for the call

    def finish(self) -> None:
        """Tell that the handler has ended."""
        self._is_done = True
        if self._on_initial is not None:
            self._set_initial(self._initial or ())

    def failure(self, code: grpc.StatusCode | None = None, details: str = "") -> grpc.aio.AioRpcError:
        """Return the error that the caller gets: the one given, else what the handler aborted with."""
        return grpc.aio.AioRpcError(
            code or self._code or grpc.StatusCode.UNKNOWN,
            grpc.aio.Metadata(*(self._initial or ())),
            grpc.aio.Metadata(*self._trailing),
            details or self._details,
        )

    def outcome_of(self, result: Any) -> Any:
        """Return what the caller is told of a handler that returned."""
        if self._code is not None and self._code is not grpc.StatusCode.OK:
            return self.failure()
        if type(result) is bytes and len(result) > MAX_MESSAGE_BYTES:
            return self.failure(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(result))
        return result

    def failed_with(self, error: BaseException) -> grpc.aio.AioRpcError:
        """Return what the caller is told of a handler that raised: a real server goes on, whatever it is."""
        if isinstance(error, grpc.aio.AbortError):
            return self.failure()
        if isinstance(error, asyncio.CancelledError):
            return self.failure(grpc.StatusCode.CANCELLED)
        return self.failure(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error).__name__}")

    def sent(self) -> tuple[Metadata, ...]:
        """Return the metadata ahead of and behind the response; nothing where there is neither."""
        return (self._initial or (), self._trailing) if self._initial or self._trailing else ()

    async def initial(self) -> grpc.aio.Metadata:
        """Wait for the initial metadata."""
        if self._initial is None and not self._is_done:
            if self._on_initial is None:
                self._on_initial = self._loop.create_future()
            await asyncio.shield(self._on_initial)
        return grpc.aio.Metadata(*(self._initial or ()))

    def _set_initial(self, initial: Metadata) -> None:
        self._initial = initial
        if self._on_initial is not None and not self._on_initial.done():
            self._on_initial.set_result(None)


def too_large(message: bytes) -> str:
    """Return the text of the refusal of a message."""
    return f"message larger than max ({len(message)} vs. {MAX_MESSAGE_BYTES})"
