"""The RPCs of the directory: convert in, ask, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import user_directory_service_pb2 as pb
from stylobate.api.auth.v1.user_directory_service_pb2_grpc import UserDirectoryServiceServicer
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.user_directory import Profile, UserDirectory

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserDirectoryServicer(UserDirectoryServiceServicer):
    """Who somebody is, for services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"GetUserProfiles": RpcAccess.SERVICE}

    def __init__(self, directory: UserDirectory) -> None:
        self._directory = directory

    async def GetUserProfiles(self, request: pb.GetUserProfilesRequest, context: Any) -> pb.GetUserProfilesResponse:
        found = await self._directory.profiles(call().principal, request.ids)
        return pb.GetUserProfilesResponse(profiles=map(_to_profile, found))


def _to_profile(found: Profile) -> pb.UserProfile:
    account = found.account
    if not found.is_told:
        return pb.UserProfile(id=account.id)
    return pb.UserProfile(
        id=account.id,
        told=True,
        display_name=account.display_name,
        email=account.email,
        email_verified=account.email_verified,
    )
