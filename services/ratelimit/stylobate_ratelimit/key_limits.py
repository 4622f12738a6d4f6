"""The limits that API keys have of their own: auth keeps them with the keys."""

import grpc.aio
from stylobate.api.auth.v1.api_key_service_pb2 import GetApiKeyRequest
from stylobate.api.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from stylobate.rpc.own_name import in_own_name

_TIMEOUT_S = 5.0


class KeyLimits:
    """Asks auth, for callers whose right to know was decided here.

    :param channel: to auth.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._keys = ApiKeyServiceStub(channel)

    async def limit(self, key_id: str) -> str:
        """Return the limit of a key, such as `100/minute`; empty: it has none.

        :raises StylobateError: what auth says, such as API_KEY_UNKNOWN.
        """
        with in_own_name():
            call = self._keys.GetApiKey(GetApiKeyRequest(id=key_id), timeout=_TIMEOUT_S)
        return str((await call).api_key.rate_limit)
