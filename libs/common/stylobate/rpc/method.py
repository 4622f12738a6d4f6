"""A method as the pipeline sees it, the contract of an interceptor, and what channels are alike in."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Never, Protocol, Self, TypeAlias

import grpc.aio

from stylobate.identity.principal import ANONYMOUS, Principal
from stylobate.rpc.call import Call

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message, either way, over every transport."""

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


Behaviour: TypeAlias = Callable[[Any, Context], Coroutine[Any, Any, Any]]
"""What serves a call: the encoded request in, the encoded response out.

A streaming method has the same form: it hands each encoded response to ``context.write`` and returns ``b""``. Where all steps of
the pipeline say so (:attr:`Interceptor.passes_messages`), a call that stays in its process goes through it as the messages
themselves.
"""


Prompt: TypeAlias = Callable[[Any], bool]
"""Of a request whether its handler ends as soon as it is cancelled: nothing in it catches that, or waits when it is over."""

Passing: TypeAlias = Callable[[str, Call, float], Call | None]
"""Admits a call of this process that is made by plain values, from the service's token, the call that it is made for and its
deadline on the loop's clock. Returns it as its servicer sees it; None, or a StylobateError: an ordinary call tells."""

Encode: TypeAlias = Callable[[Any], bytes] | None
Decode: TypeAlias = Callable[[bytes], Any] | None


class RpcAccess(StrEnum):
    """Who may call a method, before the manager behind it decides more finely. Every method of a servicer says it."""

    PUBLIC = "public"
    """Anyone; credentials are not looked at (login, JWKS)."""
    OPTIONAL = "optional"
    """Anyone; a bearer token that is present is verified, and a bad one is refused."""
    AUTHENTICATED = "authenticated"
    """A verified bearer token, or a service in its own name."""
    SERVICE = "service"
    """A verified service token beside whatever else there is."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service."""

    full_name: str
    """``/stylobate.api.state.v1.StateService/GetState``."""
    response_streaming: bool
    access: RpcAccess
    owner: str = ""
    """The service that it belongs to; empty for what a process serves for all of its services, such as their event logs."""

    def audiences(self, hosted: Collection[str]) -> frozenset[str]:
        """Return the services that a token for a call may be made for, in a process that hosts these."""
        return frozenset({self.owner} if self.owner else hosted)

    @property
    def service(self) -> str:
        """The full name of the gRPC service: ``stylobate.api.state.v1.StateService``."""
        return self.full_name[1:].partition("/")[0]

    @property
    def domain(self) -> str:
        """Who speaks in errors (``ErrorInfo.domain``): ``stylobate.state``."""
        parts = self.service.split(".")
        return f"stylobate.{parts[2]}" if parts[:2] == ["stylobate", "api"] else parts[0]


class Interceptor(Protocol):
    """One step of the pipeline. The same bound chain serves local calls and real servers."""

    passes_messages: bool = False
    """Whether the behaviour takes a request that is not encoded as well, and returns the response so then."""

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour around ``inner``. Run once per method, with a running loop.

        Whatever is known of the method is worked out here; what belongs to one call is read from the context inside
        the behaviour (``context.invocation_metadata()``).
        """

    def passing(self, method: Method, /) -> Passing | None:  # noqa: ARG002  the contract
        """Return what admits calls of the method by plain values, see ``LocalUnaryMethod.ask_plainly``; None: none are."""
        return None


class Edge(Protocol):
    """What is used of :class:`stylobate.clients.edge.Edge`."""

    async def charge(self, address: str, principal: Principal = ANONYMOUS, *, is_address_charged: bool = False) -> None:
        """Charge where a call comes from, and who calls when its token was verified.

        :param is_address_charged: whether the address was charged before, alone.
        :raises BannedError: one of them is banned. :raises RateLimitedError: one calls too often.
        """


class ClientChannel(grpc.aio.Channel):
    """A channel for methods with one request."""

    is_local = False
    """Whether who is called is in this process, so that a call costs little."""

    @abstractmethod
    def method(self, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> Any:
        """Return what calls a method, with one response or a stream of them."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Encode = None,
        response_deserializer: Decode = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return what calls the method."""
        return self.method(method, request_serializer, response_deserializer, is_stream=False)

    def unary_stream(
        self,
        method: str,
        request_serializer: Encode = None,
        response_deserializer: Decode = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return what calls the method."""
        return self.method(method, request_serializer, response_deserializer, is_stream=True)

    def stream_unary(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    def stream_stream(self, *_: Any, **__: Any) -> Never:
        """Refuse: requests are not streamed."""
        raise NotImplementedError("requests are not streamed")

    async def __aenter__(self) -> Self:
        """Return the channel itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the channel."""
        await self.close()
