# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``AccountKeyService`` on the wire: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import account_key_service_pb2 as pb
from stylobate.api.auth.v1.account_key_service_pb2_grpc import AccountKeyServiceServicer
from stylobate.encryption import DataKeyStanding
from stylobate.rpc import RpcAccess

from stylobate_auth.account_reencryptor import AccountReencryptor
from stylobate_auth.convert import to_timestamp


class AccountKeyServicer(AccountKeyServiceServicer):
    """Serves an AccountReencryptor to the operator's command."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        ("ListAccountKeys", "BeginAccountReencryption", "ReencryptAccounts"), RpcAccess.SERVICE
    )

    def __init__(self, manager: AccountReencryptor) -> None:
        self._manager = manager

    async def ListAccountKeys(self, request: pb.ListAccountKeysRequest, context: Any) -> pb.ListAccountKeysResponse:
        return pb.ListAccountKeysResponse(keys=map(_to_key, await self._manager.standings()))

    async def BeginAccountReencryption(
        self, request: pb.BeginAccountReencryptionRequest, context: Any
    ) -> pb.BeginAccountReencryptionResponse:
        encrypts, resealed = await self._manager.begin()
        return pb.BeginAccountReencryptionResponse(encrypts=encrypts, resealed=resealed)

    async def ReencryptAccounts(self, request: pb.ReencryptAccountsRequest, context: Any) -> pb.ReencryptAccountsResponse:
        step = await self._manager.step(request.place)
        return pb.ReencryptAccountsResponse(
            looked=step.looked, reencrypted=step.reencrypted, unreadable=step.unreadable, next_place=step.next_place
        )


def _to_key(key: DataKeyStanding) -> pb.AccountKeyInfo:
    return pb.AccountKeyInfo(
        id=key.id,
        purpose=key.purpose,
        generation=key.generation,
        created_at=to_timestamp(key.created_at),
        current=key.is_current,
        foreign=key.is_foreign,
        replaced=key.is_replaced,
    )
