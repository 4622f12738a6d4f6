"""The registry: nothing is served by accident."""

from typing import Any, ClassVar

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2_grpc import add_ModuleServiceServicer_to_server
from stylobate.api.events.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from stylobate.rpc import Behaviour, Method, RpcAccess, Servicers

from .probe import Probe

_ACCESS = {
    "ListModules": RpcAccess.PUBLIC,
    "CallHook": RpcAccess.SERVICE,
    "UpgradeStates": RpcAccess.SERVICE,
    "ForgetUser": RpcAccess.SERVICE,
}


async def test_a_method_without_access_is_refused():
    """A method that nobody gave an access is named and nothing of the service is served."""
    servicers = Servicers()
    with pytest.raises(ValueError, match="no access given for CallHook, ForgetUser, UpgradeStates"):
        servicers.register(add_ModuleServiceServicer_to_server, Probe(), {"ListModules": RpcAccess.PUBLIC})
    assert servicers.services == ()


async def test_an_access_without_method_is_refused():
    """A misspelt method is named."""
    with pytest.raises(ValueError, match=r"has no method ListModule$"):
        Servicers().register(add_ModuleServiceServicer_to_server, Probe(), {**_ACCESS, "ListModule": RpcAccess.PUBLIC})


async def test_a_service_is_registered_once():
    """Registering a service again is refused."""
    servicers = Servicers()
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    with pytest.raises(ValueError, match="registered already"):
        servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)


async def test_a_stream_that_is_no_generator_is_refused():
    """A streaming method that would fail at its first call fails at registration."""

    class Wrong:
        async def ReadEvents(self, request: Any, context: Any) -> None:  # noqa: N802  gRPC's name
            """Return nothing."""

        async def ListLogs(self, request: Any, context: Any) -> None:  # noqa: N802  gRPC's name
            """Return nothing."""

    with pytest.raises(ValueError, match="async generator"):
        Servicers().register(
            add_EventServiceServicer_to_server, Wrong(), dict.fromkeys(("ReadEvents", "ListLogs"), RpcAccess.PUBLIC)
        )


@pytest.mark.parametrize("name", ["CallHook", "ListModules", "Misspelt"])
async def test_plain_values_are_for_handlers_that_end_when_they_are_cancelled(name):
    """They are served in the task of who calls; what is not declared as prompt is not, nor what is not there."""

    class Wrong(Probe):
        PROMPT: ClassVar[Any] = {"ListModules": lambda _: True} if name == "Misspelt" else {}
        PLAIN: ClassVar[Any] = {name: "CallHook"}

    with pytest.raises(ValueError, match=f"PLAIN names {name};"):
        Servicers().register(add_ModuleServiceServicer_to_server, Wrong(), _ACCESS)


async def test_streamed_requests_are_refused():
    """A method that streams its requests is refused by name."""

    def add(servicer: Any, server: Any) -> None:
        server.add_registered_method_handlers("x.Y", {"Z": grpc.stream_unary_rpc_method_handler(servicer)})

    with pytest.raises(ValueError, match=r"/x\.Y/Z streams its requests"):
        Servicers().register(add, print, {"Z": RpcAccess.PUBLIC})


async def test_a_chain_is_bound_once_per_method():
    """Interceptors bind once per method, outermost first, and learn what the method is."""
    bound: list[tuple[str, Method]] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
            """Remember the method."""
            bound.append((self.name, method))
            return inner

    servicers = Servicers([Recorder("outer"), Recorder("inner")])
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    first = servicers.behaviour("/stylobate.api.actions.v1.ModuleService/CallHook")
    assert servicers.behaviour("/stylobate.api.actions.v1.ModuleService/CallHook") is first
    assert [name for name, _ in bound] == ["inner", "outer"]
    method = bound[0][1]
    assert (method.access, method.response_streaming) == (RpcAccess.SERVICE, False)
    assert (method.service, method.domain) == ("stylobate.api.actions.v1.ModuleService", "stylobate.actions")


async def test_the_pipeline_is_not_changed_under_calls():
    """A pipeline may be set until the first method is bound to it, and not after."""
    servicers = Servicers()
    servicers.use([])
    servicers.register(add_ModuleServiceServicer_to_server, Probe(), _ACCESS)
    assert servicers.behaviour("/stylobate.api.actions.v1.ModuleService/CallHook") is not None
    with pytest.raises(RuntimeError, match="bound"):
        servicers.use([])
