"""One address of a target: whether it takes streams, and the stream to it, replaced before it ends."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextvars import Context
from itertools import chain, repeat
from typing import Any

import grpc.aio
import msgspec

from stylobate.discovery.target import Target, host_of
from stylobate.logs import get_logger
from stylobate.resilience import Interruption, backoff
from stylobate.rpc.mux.client import REPLACED, ClientStream
from stylobate.rpc.mux.items import FIND, Listener
from stylobate.tls import TlsSettings

_FIND_S = 3.0
_CONNECT_S = 3.0
_MISSES, _SOON_S = 10, 0.02
"""So often it is looked for at once. Then a stream that is to be replaced is left though nothing takes its place: its server
waits for that."""
_ASK_AGAIN_S = 30.0
"""Whether a server that took no streams takes them now: it may have been upgraded."""
_UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_decode = msgspec.msgpack.Decoder(Listener).decode
_log = get_logger("app")


class Peer:
    """Keeps a stream to one address.

    :param address: one of the target's.
    :param tls: None: no encryption. Not used for a unix socket.
    :param changed: told when :attr:`stream` or :attr:`is_plain` is another.
    :param patience: says how many times as long as one address alone it pauses between two tries.
    """

    def __init__(
        self,
        address: str,
        target: Target,
        tls: TlsSettings | None,
        changed: Callable[[], None],
        patience: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._patience = patience
        self.stream: ClientStream | None = None
        self.is_plain = False
        """Whether it serves, and takes no streams."""
        self._is_unix = address.startswith("unix:")
        self._address, self._authority, self._changed = address, target.authority, changed
        self._tls = None if tls is None or self._is_unix else tls
        self._name = None if self._tls is None else self._tls.server_name or target.name
        self._finishing: set[ClientStream] = set()
        self._unreachable = Interruption("stream_unreachable")
        self._loop = asyncio.get_running_loop()
        self._keeping = self._loop.create_task(self._keep(), name=f"stream to {address}", context=Context())

    async def close(self, grace_s: float) -> None:
        """Take no more calls, wait for those under way, then end them."""
        self._keeping.cancel()
        streams = [*self._finishing, *([self.stream] if self.stream is not None else [])]
        for stream in streams:
            stream.finish()
        if grace_s and (open_ones := [stream.over for stream in streams if not stream.over.done()]):
            await asyncio.wait(open_ones, timeout=grace_s)
        for stream in streams:
            stream.close()

    async def _keep(self) -> None:
        pauses, misses = self._pauses(), 0
        while True:
            if self.stream is not None and self.stream.is_closing:
                self._leave()
            try:
                listener = await self._find()
                stream = None if listener is None else await self._connect(listener)
            except grpc.aio.AioRpcError:
                misses += 1
                if misses == _MISSES:
                    self._leave()
                await asyncio.sleep(next(pauses) * self._patience())
                continue
            except (OSError, TimeoutError) as error:  # told of, and not there: it ended meanwhile, or something is between
                self._set(self.stream, is_plain=self.stream is None)
                self._unreachable.note(target=self._address, cause=f"{type(error).__name__}: {error}")
                await asyncio.sleep(next(pauses) * self._patience())
                continue
            if stream is None:
                self._leave(is_plain=True)
                await asyncio.sleep(_ASK_AGAIN_S * random.uniform(0.5, 1.0))  # noqa: S311  spreads the load
                continue
            self._unreachable.over()
            self._finish()
            self._set(stream, is_plain=False)
            pauses, misses = self._pauses(), 0
            if await stream.leaving not in REPLACED:
                self._leave()

    def _pauses(self) -> Iterator[float]:
        """Return how long to pause between tries: at once where something is to be replaced, or where there are few others."""
        is_soon = self.stream is not None or self._patience() <= 1
        return chain(repeat(_SOON_S, _MISSES), backoff()) if is_soon else backoff()

    def _leave(self, *, is_plain: bool = False) -> None:
        self._finish()
        self._set(None, is_plain=is_plain)

    def _set(self, stream: ClientStream | None, *, is_plain: bool) -> None:
        self.stream, self.is_plain = stream, is_plain
        self._changed()

    def _finish(self) -> None:
        if (old := self.stream) is not None:
            self._finishing.add(old)
            old.over.add_done_callback(lambda _: self._finishing.discard(old))
            old.finish()

    async def _find(self) -> Listener | None:
        """Ask where streams are taken; None: nowhere. Raises AioRpcError where nobody answers."""
        async with self._plain() as channel:
            try:
                ask: Any = channel.unary_unary(FIND)
                found = _decode(await ask(b"", timeout=_FIND_S))
            except grpc.aio.AioRpcError as error:
                if error.code() in _UNREACHED:
                    raise
                return None  # an older release
            except msgspec.DecodeError:
                return None
        return found if (found.path if self._is_unix else found.port) else None

    def _plain(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._address)
        named = [("grpc.ssl_target_name_override", self._name)]
        return grpc.aio.secure_channel(self._address, self._tls.channel_credentials(), options=named)

    async def _connect(self, listener: Listener) -> ClientStream:
        """Return a stream that takes calls. Raises OSError, TimeoutError."""
        loop, context = self._loop, None if self._tls is None else self._tls.client_context()  # the files may be others now

        def made() -> ClientStream:
            return ClientStream(loop, self._authority, "http" if context is None else "https", listener.calls)

        stream: ClientStream | None = None
        try:
            async with asyncio.timeout(_CONNECT_S):
                if self._is_unix:
                    _, stream = await loop.create_unix_connection(made, listener.path)
                else:
                    where = host_of(self._address), listener.port
                    _, stream = await loop.create_connection(made, *where, ssl=context, server_hostname=self._name)
                await stream.ready
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        return stream
