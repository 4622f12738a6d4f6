"""What a call walks through: a step that is added to every call of the platform shows here."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import stylobate
from stylobate.api.actions.v1.module_service_pb2 import ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.rpc import Call, CallerChannel, TlsSettings, current_call
from stylobate.rpc.caller import asking

from .probe import Services, wire

OURS = str(Path(next(iter(stylobate.__path__))))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
FILES = {
    "local": {"handlers.py", "local/call.py", "local/context.py", "local/unary.py", "outcome.py"},
    "prompt": {"handlers.py", "local/asked.py", "local/context.py", "local/prompt.py", "local/unary.py"},
    "asked": {"local/asked.py", "local/unary.py", "messages.py"},
    "unix": {"breaker.py", "handlers.py"},
}
"""What belongs to the transport, in the folder rpc; all else is the same for a call that stays in its process."""
BOTH = {
    "caller.py",
    "call.py",
    "interceptors/call.py",
    "interceptors/identity.py",
    "interceptors/service_caller.py",
}
FUNCTIONS = {"local": 28, "prompt": 33, "asked": 21, "unix": 27}
"""At most, of the library; keys and tokens are the tests' here. Who asks makes no handle."""


@pytest.mark.parametrize("kind", FILES)
async def test_a_call_walks_through_few_rooms(kind: str, tmp_path: Path, tls: TlsSettings):
    """From the caller's stub to the servicer and back, with a user's token through a door, the second time."""
    entered: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and "/api/" not in code.co_filename:
            entered.add((code.co_filename.removeprefix(f"{OURS}/"), code.co_qualname))

    async with wire("prompt" if kind == "asked" else kind, tmp_path, tls) as made:
        stub = ModuleServiceStub(CallerChannel(made.channel, Services().token, service="actions"))
        list_modules = asking(stub.ListModules) if kind == "asked" else stub.ListModules
        current_call.set(Call("r-1", TRACE, "Bearer user:7", client_address="203.0.113.9", client_agent="curl/8.5"))
        await list_modules(ListModulesRequest())
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            await list_modules(ListModulesRequest())
        finally:
            sys.setprofile(before)
    files = {file for file, _ in entered}
    assert {file.removeprefix("rpc/") for file in files if file.startswith("rpc/")} == BOTH | FILES[kind]
    assert {file for file in files if not file.startswith("rpc/")} <= {
        "deadlines.py",
        "identity/client_address.py",
        "ids.py",
        "telemetry/traceparent.py",
    }
    assert len(entered) <= FUNCTIONS[kind]
