"""A method as the pipeline sees it, and the contract of an interceptor."""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc.aio

from stylobate.rpc.access import RpcAccess

if TYPE_CHECKING:
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message, either way, over every transport."""

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

Behaviour: TypeAlias = Callable[[bytes, Context], Coroutine[Any, Any, bytes]]
"""What serves a call: the encoded request in, the encoded response out.

A streaming method has the same form: it hands each encoded response to ``context.write`` and returns ``b""``.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service."""

    full_name: str
    """``/stylobate.api.state.v1.StateService/GetState``."""
    request_streaming: bool
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

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour around ``inner``. Run once per method, with a running loop.

        Whatever is known of the method is worked out here; what belongs to one call is read from the context inside
        the behaviour (``context.invocation_metadata()``).
        """
