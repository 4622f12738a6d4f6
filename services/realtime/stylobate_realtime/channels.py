"""Channels: their names, the namespace that declares them, who may do what in them, and what may be published."""

import re
from collections.abc import Mapping
from typing import Any

import grpc
from stylobate.api.state.v1.state_service_pb2 import GetStateRequest, StateKey
from stylobate.declarations import parse_access_rule
from stylobate.declarations.evaluate import AccessEvaluator, Permissions
from stylobate.declarations.model import AccessRule, ChannelDeclaration
from stylobate.declarations.rules import AUTHENTICATED, PUBLIC
from stylobate.errors import InvalidInputError, StylobateError, Violation
from stylobate.identity.principal import Principal
from stylobate.keys import from_channel, in_channel
from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads

from stylobate_realtime.errors import ChannelInvalidError, ChannelUnknownError

_NAME = re.compile(r"[\x21-\x7e]{1,255}")
_STATE = "state:"
_SUBSCRIBERS = "subscribers"
_GET_STATE_TIMEOUT_S = 3.0
_REFUSALS = frozenset({
    grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
})  # fmt: skip
"""What the state service says when the answer is no, whatever the reason: whether an object exists is not told."""


class PayloadInvalidError(Exception):
    """Empty, too long, or not JSON: subscribers that speak JSON could not receive it."""


class ChannelRules:
    """Which channels there are and who may use them.

    :param declarations: by namespace; the empty name stands for channels without one.
    :param state: a stub of StateService; its errors are StylobateErrors.
    """

    def __init__(self, declarations: Mapping[str, ChannelDeclaration], permissions: Permissions, state: Any) -> None:
        self._declarations = declarations
        self._access = AccessEvaluator(permissions)
        self._state = state
        self._of_state: dict[str, list[str]] = {}
        for declaration in declarations.values():
            if declaration.subscribe.startswith(_STATE) and declaration.name:
                self._of_state.setdefault(declaration.subscribe.removeprefix(_STATE), []).append(declaration.name)
        self._rules = {
            text: parse_access_rule(text)
            for declaration in declarations.values()
            for text in (declaration.subscribe, declaration.publish)
            if text and text != _SUBSCRIBERS and not text.startswith(_STATE)
        }

    def declaration(self, channel: str) -> ChannelDeclaration:
        """Return what is declared for a channel. Raises ChannelInvalidError, ChannelUnknownError."""
        if not _NAME.fullmatch(channel):
            raise ChannelInvalidError
        namespace, colon, _ = channel.removeprefix("$").partition(":")
        declaration = self._declarations.get(namespace if colon else "")
        if declaration is None:
            raise ChannelUnknownError
        return declaration

    def publication(self, channel: str, data: bytes, max_bytes: int) -> bytes:
        """Return the payload of a service's publication. Raises ChannelInvalidError, ChannelUnknownError, InvalidInputError."""
        self.declaration(channel)
        try:
            return checked_payload(data, max_bytes)
        except PayloadInvalidError as error:
            raise InvalidInputError(violations=(Violation("/data", str(error)),)) from None

    async def may_subscribe(self, declaration: ChannelDeclaration, channel: str, principal: Principal, token: str) -> bool:
        """Return whether the principal may subscribe.

        :param token: the principal's own: the state service decides by it.
        :raises StylobateError: it cannot be told at the moment.
        """
        if channel.startswith("$"):
            return False  # private: it takes a token for the channel, which nobody issues yet
        if declaration.subscribe.startswith(_STATE):
            return await self._may_read(declaration.subscribe.removeprefix(_STATE), channel.partition(":")[2], token)
        return await self._access.allows(self._rules.get(declaration.subscribe, AccessRule()), principal)

    def can_lapse(self, declaration: ChannelDeclaration) -> bool:
        """Return whether the right to subscribe can be lost while the session lasts."""
        if declaration.subscribe.startswith(_STATE):
            return True
        terms = self._rules.get(declaration.subscribe, AccessRule()).terms
        return PUBLIC not in terms and AUTHENTICATED not in terms

    def channels_of(self, namespace: str, key: str) -> list[str]:
        """Return the channels whose right to subscribe is the right to read the state object."""
        return [f"{name}:{in_channel(key)}" for name in self._of_state.get(namespace, ())]

    @property
    def asks_state(self) -> bool:
        """Whether any right to subscribe is a right to read a state object."""
        return bool(self._of_state)

    async def may_publish(self, declaration: ChannelDeclaration, principal: Principal, *, is_subscribed: bool) -> bool:
        """Return whether the principal may publish from a socket. Raises StylobateError when it cannot be told."""
        if declaration.publish == _SUBSCRIBERS:
            return is_subscribed
        return await self._access.allows(self._rules.get(declaration.publish, AccessRule()), principal)

    async def _may_read(self, namespace: str, key: str, token: str) -> bool:
        request = GetStateRequest(keys=[StateKey(namespace=namespace, key=from_channel(key))])
        try:
            response = await self._state.GetState(
                request, timeout=_GET_STATE_TIMEOUT_S, metadata=(("authorization", f"Bearer {token}"),)
            )
        except StylobateError as error:
            if error.code in _REFUSALS:
                return False
            raise
        return bool(response.states)


def checked_payload(data: bytes, limit: int) -> bytes:
    """Return the payload when it can be published. Raises PayloadInvalidError with a sentence for a person.

    :param limit: bytes.
    """
    if len(data) > limit:
        raise PayloadInvalidError(f"A publication's payload is at most {limit} bytes.")
    try:
        loads(data)
    except JsonMalformedError:
        raise PayloadInvalidError("A publication's payload is one JSON value.") from None
    except JsonRefusedError as error:
        raise PayloadInvalidError(f"A publication's payload is not carried: {error}.") from None
    return data
