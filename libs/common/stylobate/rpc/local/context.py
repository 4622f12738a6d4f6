"""What a handler is given beside the request when the call is local."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Never

import grpc
import grpc.aio

from stylobate.rpc.method import MAX_MESSAGE_BYTES, Metadata


class LocalContext(grpc.aio.ServicerContext[Any, Any]):
    """The servicer's side of one local call; behaves as a real server's context does."""

    # Class attributes are the defaults: a call pays only for what it sets.
    _write: Callable[[bytes], Awaitable[None]] | None = None
    _initial: Metadata | None = None
    _trailing: Metadata = ()
    _code: grpc.StatusCode | None = None
    _details = ""
    _is_aborted = False
    _is_done = False
    _callbacks: tuple[Callable[["LocalContext"], None], ...] = ()
    _on_initial: asyncio.Future[None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, invocation: Metadata, deadline: float | None) -> None:
        self._loop = loop
        self._invocation = invocation
        self._deadline = deadline

    # for the handler and the pipeline

    def invocation_metadata(self) -> Any:
        """Return what the caller sent, as a tuple of pairs."""
        return self._invocation

    def time_remaining(self) -> Any:
        """Return the seconds left, at least 0; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send metadata ahead of the response; once only."""
        if self._initial is not None:
            raise grpc.aio.UsageError("initial metadata was sent already")
        self._set_initial(tuple(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set what goes with the status."""
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """Return what goes with the status."""
        return self._trailing

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Never:
        """End the call with a status."""
        if self._is_aborted:
            raise grpc.aio.UsageError("the call was aborted already")
        self._is_aborted = True
        self._code, self._details = code, details or self._details
        self._trailing = tuple(trailing_metadata) or self._trailing
        raise grpc.aio.AbortError("locally aborted")

    async def abort_with_status(self, status: grpc.Status) -> Never:
        """End the call with a status."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def write(self, message: bytes) -> None:
        """Hand a message to the caller; waits while it has enough to read."""
        if self._write is None or self._is_aborted:
            raise grpc.aio.UsageError("nothing can be written to this call")
        if len(message) > MAX_MESSAGE_BYTES:
            await self.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(message))
        if self._initial is None:
            self._set_initial(())
        await self._write(message)

    async def read(self) -> Any:
        """Refuse: requests are not streamed."""
        raise grpc.aio.UsageError("this call has one request")

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status to end with."""
        self._code = code

    def code(self) -> Any:
        """Return the status that was set; None when none was."""
        return self._code

    def set_details(self, details: str) -> None:
        """Set the text of the status."""
        self._details = details

    def details(self) -> str:
        """Return the text of the status."""
        return self._details

    def done(self) -> bool:
        """Return whether the handler has ended."""
        return self._is_done

    def cancelled(self) -> bool:
        """Return whether the status is CANCELLED."""
        return self._code is grpc.StatusCode.CANCELLED

    def add_done_callback(self, callback: Any) -> None:
        """Call back when the handler has ended."""
        self._callbacks = (*self._callbacks, callback)

    def set_compression(self, compression: grpc.Compression) -> None:
        """Ignore: nothing is compressed inside a process."""

    def disable_next_message_compression(self) -> None:
        """Ignore: nothing is compressed inside a process."""

    def peer(self) -> str:
        """Return ``local:``."""
        return "local:"

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return None: no transport vouches for the caller."""
        return None

    def peer_identity_key(self) -> str | None:
        """Return None: no transport vouches for the caller."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return nothing: no transport vouches for the caller."""
        return {}

    # for the call

    def stream_to(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Let the handler write messages."""
        self._write = write

    def finish(self) -> None:
        """Tell that the handler has ended."""
        self._is_done = True
        if self._initial is None:
            self._set_initial(())
        for callback in self._callbacks:
            callback(self)

    def failure(self, code: grpc.StatusCode | None = None, details: str = "") -> grpc.aio.AioRpcError:
        """Return the error that the caller gets: the one given, else what the handler aborted with."""
        return grpc.aio.AioRpcError(
            code or self._code or grpc.StatusCode.UNKNOWN,
            grpc.aio.Metadata(*(self._initial or ())),
            grpc.aio.Metadata(*self._trailing),
            details or self._details,
        )

    async def initial(self) -> grpc.aio.Metadata:
        """Wait for the initial metadata."""
        if self._initial is None:
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
