"""Whose an API key is: asked of auth, many keys in one call."""

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Any, Self

import grpc

from stylobate.api.auth.v1.token_service_pb2 import ApiKeyProof, ApiKeyStanding, VerifiedApiKey, VerifyApiKeysRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.batching import Batcher
from stylobate.errors import StylobateError, TokenInvalidError, UnavailableError
from stylobate.identity.api_key import (
    ApiKeyExpiredError,
    ApiKeyInvalidError,
    ApiKeyPlaceError,
    ApiKeyRevokedError,
    ApiKeyText,
    read_api_key,
)
from stylobate.identity.client_address import LOCAL, unmapped
from stylobate.identity.principal import Principal, PrincipalKind

_CALL_TIMEOUT_S = 2.0
_RETRY_AFTER = timedelta(seconds=1)
_UNANSWERED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,  # by an auth of the release before, for as long as it takes to replace it
)
_REFUSALS: dict[int, type[TokenInvalidError | ApiKeyExpiredError | ApiKeyRevokedError]] = {
    ApiKeyStanding.API_KEY_STANDING_EXPIRED: ApiKeyExpiredError,
    ApiKeyStanding.API_KEY_STANDING_REVOKED: ApiKeyRevokedError,
}


class ApiKeyProofs:
    """Turns keys into principals; an async context manager.

    :param channel: to auth, in this service's own name.
    :param environment: that keys must be for; empty: any.
    """

    def __init__(self, channel: grpc.aio.Channel, environment: str = "") -> None:
        self._stub: Any = TokenServiceStub(channel)
        self._environment = environment
        self._batcher: Batcher[ApiKeyText, Principal] = Batcher(self._ask)

    async def __aenter__(self) -> Self:
        """Make it usable."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the questions under way."""
        await self._batcher.__aexit__(kind, error, trace)

    async def prove(self, text: str) -> Principal:
        """Return who a key stands for.

        :raises ApiKeyInvalidError: also one that auth need not be asked about. :raises ApiKeyExpiredError, ApiKeyRevokedError:
            it does not hold any more. :raises UnavailableError: auth does not answer.
        """
        return await self._batcher.submit(read_api_key(text, self._environment))

    async def _ask(self, keys: list[ApiKeyText]) -> Sequence[Principal | Exception]:
        request = VerifyApiKeysRequest(proofs=[ApiKeyProof(id=key.id, secret_hash=key.secret_hash) for key in keys])
        try:
            response = await self._stub.VerifyApiKeys(request, timeout=_CALL_TIMEOUT_S)
        except StylobateError as error:
            if error.code not in _UNANSWERED:
                return [error] * len(keys)
            return [UnavailableError("API keys cannot be verified at the moment.", retry_after=_RETRY_AFTER)] * len(keys)
        return [_principal_of(key.id, found) for key, found in zip(keys, response.api_keys, strict=True)]


def refuse_elsewhere(principal: Principal, address: str) -> None:
    """Return when the caller's credential is taken from the address. Raises ApiKeyPlaceError.

    :param address: as :mod:`.client_address` writes it. Who comes over a unix socket or from this process is in no network.
    """
    if not principal.networks:
        return
    if address not in {"", LOCAL}:
        found = ip_address(address)
        if any(found in network for network in principal.networks):
            return
    raise ApiKeyPlaceError


def _principal_of(key_id: str, found: VerifiedApiKey) -> Principal | Exception:
    if found.standing != ApiKeyStanding.API_KEY_STANDING_VALID:
        return _REFUSALS.get(found.standing, ApiKeyInvalidError)()
    return Principal(
        kind=PrincipalKind.USER,
        id=found.owner,
        tenant=found.tenant,
        token_id=key_id,
        scopes=frozenset(found.scopes),
        issued_at=found.verified_at.ToNanoseconds() / 1e9,
        expires_at=found.believed_until.ToNanoseconds() / 1e9,
        is_key=True,
        networks=tuple(unmapped(ip_network(text)) for text in found.allowed_cidrs),
        rate_limit=found.rate_limit,
    )
