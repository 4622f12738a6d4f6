"""The accounts of users in tests of modules: auth's directory, of whom a test has named."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1.user_directory_service_pb2 import GetUserProfilesRequest, GetUserProfilesResponse, UserProfile
from stylobate.api.auth.v1.user_directory_service_pb2_grpc import UserDirectoryServiceServicer
from stylobate.declarations.evaluate import Permissions
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

_READ = "users:read"


class MemoryUsers(UserDirectoryServiceServicer):
    """Tells of them what auth would: all to who holds ``users:read``, and of the caller's own account."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"GetUserProfiles": RpcAccess.SERVICE}

    def __init__(self, access: Permissions) -> None:
        self._access = access
        self.known: dict[str, UserProfile] = {}
        """By id, those that there are."""

    async def GetUserProfiles(self, request: GetUserProfilesRequest, context: Any) -> GetUserProfilesResponse:  # noqa: ARG002, N802  the generated signature
        """Look them up."""
        principal = call().principal
        knows_all = await self._access.allowed(principal, _READ)
        found = [self.known[one] for one in dict.fromkeys(request.ids) if one in self.known]
        told = [one if knows_all or one.id == principal.subject else UserProfile(id=one.id) for one in found]
        return GetUserProfilesResponse(profiles=told)
