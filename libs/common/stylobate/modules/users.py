"""``ctx.users``: who somebody is, as far as the caller may know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import grpc.aio

from stylobate.api.auth.v1.user_directory_service_pb2 import GetUserProfilesRequest, UserProfile
from stylobate.api.auth.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from stylobate.errors import NotFoundError
from stylobate.modules.state import asked

_AT_ONCE = 500


class UserNotFoundError(NotFoundError):
    """Nobody has an account with this id, or not any more."""

    reason = "USER_NOT_FOUND"
    default_detail = "There is no such user."
    cure = "Ids of users are those of `principal.subject` and of owners; accounts that were deleted are not found."


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account."""

    id: str
    is_told: bool = False
    """Whether the caller may know more than that there is one: it is their own account, or they hold `users:read`."""
    name: str = ""
    """What others may see; empty where there is none, or it is not told."""
    email: str = ""
    """The address; empty where it is not told."""
    email_verified: bool = False
    """Whether somebody proved to read it."""


class UsersClient:
    """Asks auth, in the name of who calls. A hook on what a service did by itself is told everything."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = UserDirectoryServiceStub(channel)

    async def get(self, user_id: str) -> User:
        """Return somebody.

        :raises StylobateError: USER_NOT_FOUND for an id that no account of a person has; UNAVAILABLE.
        """
        found = await self.get_many([user_id])
        if user_id not in found:
            raise UserNotFoundError
        return found[user_id]

    async def get_many(self, user_ids: Iterable[str]) -> dict[str, User]:
        """Return those that there are, by id, in the order of the ids: one call for up to 500 of them.

        :raises StylobateError: UNAVAILABLE.
        """
        if isinstance(user_ids, str):
            raise TypeError("get_many takes several ids; get takes one")
        ids = list(dict.fromkeys(user_ids))
        found: dict[str, User] = {}
        for start in range(0, len(ids), _AT_ONCE):
            request = GetUserProfilesRequest(ids=ids[start : start + _AT_ONCE])
            profiles: Sequence[UserProfile] = (await asked(self._stub.GetUserProfiles(request), users=len(ids))).profiles
            found |= {one.id: _user(one) for one in profiles}
        return found


def _user(profile: UserProfile) -> User:
    return User(profile.id, profile.told, profile.display_name, profile.email, profile.email_verified)
