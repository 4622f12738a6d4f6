"""The RPCs of signing keys."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import signing_key_service_pb2 as pb
from stylobate.api.auth.v1 import signing_key_service_pb2_grpc
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import to_timestamp
from stylobate_auth.signing_key import Place, SigningKey
from stylobate_auth.signing_key_manager import SigningKeyManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class SigningKeyServicer(signing_key_service_pb2_grpc.SigningKeyServiceServicer):
    """Signing keys."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "RotateSigningKey": RpcAccess.AUTHENTICATED,
        "ListSigningKeys": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: SigningKeyManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def RotateSigningKey(self, request: pb.RotateSigningKeyRequest, context: Any) -> pb.RotateSigningKeyResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.RotateSigningKeyResponse,
            lambda claim: self._manager.rotate(caller.principal, caller, claim),
            lambda key: pb.RotateSigningKeyResponse(key=to_signing_key(key, self._manager.place(key))),
        )

    async def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Any) -> pb.ListSigningKeysResponse:
        found = await self._manager.all(call().principal)
        return pb.ListSigningKeysResponse(keys=[to_signing_key(key, place) for key, place in found])


def to_signing_key(key: SigningKey, place: Place) -> pb.SigningKey:
    """Return a key without its private half."""
    return pb.SigningKey(
        id=key.id,
        algorithm=key.algorithm,
        place=pb.SigningKeyPlace.ValueType(place.value),
        published_at=to_timestamp(key.published_at),
        signs_from=to_timestamp(key.signs_from),
    )
