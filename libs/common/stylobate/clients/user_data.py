"""What state and the modules keep of a person, asked for in a service's own name."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC
from typing import Any, NamedTuple

import grpc
import grpc.aio
import orjson

from stylobate.api.actions.v1.user_data_service_pb2 import ExportUserDataRequest
from stylobate.api.actions.v1.user_data_service_pb2_grpc import UserDataServiceStub
from stylobate.api.state.v1.owned_state_service_pb2 import ListOwnedStatesRequest
from stylobate.api.state.v1.owned_state_service_pb2_grpc import OwnedStateServiceStub
from stylobate.api.state.v1.state_service_pb2 import State
from stylobate.errors import StylobateError
from stylobate.rpc.own_name import in_own_name

_PAGE_S = 60.0


class ObjectsUnreadableError(StylobateError):
    """Objects are given out without fields that are stored encrypted and cannot be opened."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "USER_EXPORT_FIELDS_UNREADABLE"
    default_detail = "Some objects lack encrypted fields."
    cure = "The state service's log names the fields, and why they do not open."


class ModuleRecord(NamedTuple):
    """What a module gives out, or how it ended."""

    module: str
    record: bytes = b""
    """JSON of an object; empty: it gives out nothing more."""
    reason: str = ""
    """At the end: of the error that kept it from giving out everything."""
    detail: str = ""


class UserData:
    """Asks them, over their channels.

    :param request_id: of the call that this is for; for correlation.
    """

    def __init__(self, state: grpc.aio.Channel, actions: grpc.aio.Channel, request_id: str = "") -> None:
        self._states = OwnedStateServiceStub(state)
        self._modules = UserDataServiceStub(actions)
        self._request_id = request_id

    async def objects(self, tenant: str, owner: str, namespace: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the objects of an owner in a namespace, by key.

        :raises ObjectsUnreadableError: at the end; some lack what cannot be opened. :raises StylobateError: what state says.
        """
        unreadable = list[str]()
        request = ListOwnedStatesRequest(tenant=tenant, owner=owner, namespace=namespace)
        while True:
            with in_own_name(self._request_id):
                asked = self._states.ListOwnedStates(request, timeout=_PAGE_S)
            page = await asked
            for state in page.states:
                yield _object(state)
            unreadable += page.unreadable_keys
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        if unreadable:
            raise ObjectsUnreadableError(f"{len(unreadable)} objects lack encrypted fields, the first is {unreadable[0]}.")

    async def records(self, tenant: str, user_id: str) -> AsyncIterator[ModuleRecord]:
        """Yield what the modules give out of a person, one module after the other. Raises StylobateError."""
        with in_own_name(self._request_id):
            told = self._modules.ExportUserData(ExportUserDataRequest(tenant=tenant, user_id=user_id))
        async for one in told:
            yield ModuleRecord(one.module, one.record, one.end.reason, one.end.detail)


def _object(state: State) -> dict[str, Any]:
    return {
        "key": state.key,
        "version": state.version,
        "status": state.status or None,
        "created_at": state.created_at.ToDatetime(tzinfo=UTC),
        "updated_at": state.updated_at.ToDatetime(tzinfo=UTC),
        "data": orjson.Fragment(state.data),
    }
