# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``StateKeyService`` on the wire: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from typing import ClassVar

import grpc.aio
from stylobate.api.state.v1 import state_key_service_pb2 as pb
from stylobate.api.state.v1.state_key_service_pb2_grpc import StateKeyServiceServicer
from stylobate.encryption import DataKeyStanding
from stylobate.rpc import RpcAccess

from stylobate_state.reencryptor import Reencryptor
from stylobate_state.store.owner_keys import OwnerKeyCount

_Context = grpc.aio.ServicerContext[object, object]


class StateKeyServicer(StateKeyServiceServicer):
    """Serves a Reencryptor to the operator's command."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        ("ListStateKeys", "BeginStateReencryption", "ReencryptStates"), RpcAccess.SERVICE
    )

    def __init__(self, manager: Reencryptor) -> None:
        self._manager = manager

    async def ListStateKeys(self, request: pb.ListStateKeysRequest, context: _Context) -> pb.ListStateKeysResponse:
        keys, owners = await self._manager.standings(), await self._manager.owner_keys()
        return pb.ListStateKeysResponse(keys=map(_to_key, keys), owner_keys=map(_to_count, owners))

    async def BeginStateReencryption(
        self, request: pb.BeginStateReencryptionRequest, context: _Context
    ) -> pb.BeginStateReencryptionResponse:
        namespaces, resealed = await self._manager.begin()
        return pb.BeginStateReencryptionResponse(namespaces=namespaces, resealed=resealed)

    async def ReencryptStates(self, request: pb.ReencryptStatesRequest, context: _Context) -> pb.ReencryptStatesResponse:
        step = await self._manager.step(request.namespace, request.place)
        return pb.ReencryptStatesResponse(
            looked=step.looked, reencrypted=step.reencrypted, unreadable=step.unreadable, next_place=step.next_place
        )


def _to_count(count: OwnerKeyCount) -> pb.OwnerKeyCount:
    return pb.OwnerKeyCount(
        purpose=count.purpose, keys=count.keys, owners=count.owners, tenants=count.tenants, destroyed=count.destroyed
    )


def _to_key(key: DataKeyStanding) -> pb.StateKeyInfo:
    message = pb.StateKeyInfo(
        id=key.id,
        purpose=key.purpose,
        generation=key.generation,
        current=key.is_current,
        foreign=key.is_foreign,
        replaced=key.is_replaced,
    )
    message.created_at.FromDatetime(key.created_at)
    return message
