"""What each command of a client does (protocol: dispatch rules, connect, refresh; channels: ``channel_commands``)."""

import time
from collections.abc import Callable

from stylobate.clients.bans import BannedError
from stylobate.clients.edge import Edge
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.errors import StylobateError, TokenExpiredError, UnauthenticatedError
from stylobate.identity import ANONYMOUS, Principal
from stylobate.identity.api_key import ApiKeyPlaceError
from stylobate.identity.api_key_proofs import refuse_elsewhere
from stylobate.identity.verifier import TokenVerifier
from stylobate.ids import new_id
from stylobate.logs import get_logger

from stylobate_realtime import codes
from stylobate_realtime.channel_commands import ChannelCommands
from stylobate_realtime.codes import CommandRefusedError, SessionEndedError
from stylobate_realtime.key_renewal import KeyRenewal
from stylobate_realtime.protocol.messages import Command, ConnectResult, RefreshResult, Reply
from stylobate_realtime.session import ClientSession
from stylobate_realtime.session_context import State
from stylobate_realtime.settings import RealtimeSettings

_security = get_logger("security")


class Commands:
    """Dispatches commands. Every refusal is a CommandRefusedError, every fatal one a SessionEndedError.

    :param enter: counts a connection of a user; raises SessionEndedError when the user has too many.
    """

    def __init__(
        self,
        *,
        settings: RealtimeSettings,
        verifier: TokenVerifier,
        edge: Edge,
        enter: Callable[[str], None],
        channels: ChannelCommands,
        renewal: KeyRenewal,
        version: str,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._edge = edge
        self._enter = enter
        self._channels = channels
        self._renewal = renewal
        self._version = version
        self._clock = clock
        self._now = now

    async def run(self, session: ClientSession, command: Command) -> None:
        """Carry out one command and queue its reply."""
        if command.connect is not None:
            await self._connect(session, command)
            return
        if session.state is not State.CONNECTED:
            raise SessionEndedError(codes.MALFORMED)
        if command.unsubscribe is None:  # refusing one would make the client connect anew
            await self._charge(session.address, session.principal, channel=_channel_of(command))
        if session.state is not State.CONNECTED:
            return  # it ended meanwhile
        channels = self._channels
        if command.subscribe is not None:
            await channels.subscribe(session, command.id, command.subscribe)
        elif command.unsubscribe is not None:
            await channels.unsubscribe(session, command.id, command.unsubscribe)
        elif command.publish is not None:
            await channels.publish(session, command.id, command.publish)
        elif command.presence is not None:
            await channels.presence(session, command.id, command.presence)
        elif command.presence_stats is not None:
            await channels.presence_stats(session, command.id, command.presence_stats)
        else:
            await self._rest(session, command)

    async def _rest(self, session: ClientSession, command: Command) -> None:
        if command.send is not None:
            raise SessionEndedError(codes.SEND_NOT_AVAILABLE)
        if command.refresh is not None:
            await self._refresh(session, command.id, command.refresh.token or "")
        elif command.sub_refresh is not None:
            # There are no subscription tokens: nothing to refresh, whether subscribed or not.
            raise CommandRefusedError(codes.BAD_REQUEST if not command.sub_refresh.token else codes.NOT_AVAILABLE)
        elif command.history is not None or command.rpc is not None or command.ping is not None:
            raise CommandRefusedError(codes.NOT_AVAILABLE)
        else:
            raise SessionEndedError(codes.MALFORMED)

    async def _connect(self, session: ClientSession, command: Command) -> None:
        request = command.connect
        if session.state is not State.NEW or request is None:
            raise SessionEndedError(codes.MALFORMED)
        token = request.token or session.token
        principal = await self._identify(session, token)
        if session.state is not State.NEW:
            return
        self._require_unrevoked(principal)
        self._enter(principal.id)
        client = new_id()
        expires_at = self._expires_at(principal)
        session.connected(client, principal, token, expires_at)
        if principal.sends_key:
            self._renewal.add(session)
        # who has no token of its own to renew is closed when it ends, and comes back with what the browser has then
        renews = not principal.sends_key and (bool(request.token) or not session.is_token_in_cookie)
        result = ConnectResult(
            client=client,
            version=self._version,
            expires=renews,
            ttl=session.ttl_s(expires_at) if renews else 0,
            ping=round(self._settings.ping_interval.total_seconds()),
            pong=True,
        )
        session.reply(Reply(id=command.id, connect=result))

    async def _identify(self, session: ClientSession, token: str) -> Principal:
        """Verify a new session's token, charging the address before anything that costs."""
        known: Principal | None = None
        if token:
            try:
                known = self._verifier.cached(token)
            except UnauthenticatedError:
                raise SessionEndedError(codes.INVALID_TOKEN) from None
            except StylobateError:
                raise CommandRefusedError(codes.INTERNAL) from None
        if known is not None:
            await self._charge(session.address, known)
            _require_place(session, known)
            return known
        await self._charge(session.address)
        if not token:
            raise SessionEndedError(codes.NO_TOKEN)
        try:
            principal = await self._verify(token)
        except TokenExpiredError:
            raise CommandRefusedError(codes.TOKEN_EXPIRED) from None
        await self._charge(session.address, principal, is_address_charged=True)
        _require_place(session, principal)
        return principal

    async def _refresh(self, session: ClientSession, command_id: int, token: str) -> None:
        if not token:
            raise SessionEndedError(codes.MALFORMED)
        try:
            principal = await self._verify(token)
        except TokenExpiredError:
            raise SessionEndedError(codes.CONNECTION_EXPIRED) from None
        _require_place(session, principal)
        if (principal.tenant, principal.id) != (session.principal.tenant, session.principal.id):
            raise SessionEndedError(codes.INVALID_TOKEN)
        if session.state is not State.CONNECTED:
            return
        self._require_unrevoked(principal)
        expires_at = self._expires_at(principal)
        session.authenticated(principal, token, expires_at)
        self._channels.doubt(session)
        if principal.sends_key:
            self._renewal.add(session)
        expires, ttl = not principal.sends_key, 0 if principal.sends_key else session.ttl_s(expires_at)
        result = RefreshResult(client=session.client, version=self._version, expires=expires, ttl=ttl)
        session.reply(Reply(id=command_id, refresh=result))

    def _require_unrevoked(self, principal: Principal) -> None:
        """Look again with nothing awaited before the session is known by the principal: from then on it is looked for."""
        if self._verifier.is_revoked(principal):
            raise SessionEndedError(codes.INVALID_TOKEN)

    async def _verify(self, token: str) -> Principal:
        try:
            return await self._verifier.verify(token)
        except TokenExpiredError:
            raise
        except UnauthenticatedError as error:
            _security.info("realtime_token_refused", reason=error.reason)
            raise SessionEndedError(codes.INVALID_TOKEN) from None
        except StylobateError:
            raise CommandRefusedError(codes.INTERNAL) from None  # temporary: the client tries again

    async def _charge(
        self, address: str, principal: Principal = ANONYMOUS, *, channel: str = "", is_address_charged: bool = False
    ) -> None:
        try:
            await self._edge.charge(address, principal, channel=channel, is_address_charged=is_address_charged)
        except BannedError:
            raise SessionEndedError(codes.BANNED) from None
        except RateLimitedError:
            raise CommandRefusedError(codes.TOO_MANY_REQUESTS) from None
        except StylobateError:
            raise CommandRefusedError(codes.INTERNAL) from None

    def _expires_at(self, principal: Principal) -> float:
        return self._clock() + principal.expires_at - self._now()


def _require_place(session: ClientSession, principal: Principal) -> None:
    try:
        refuse_elsewhere(principal, session.address)
    except ApiKeyPlaceError as error:
        _security.info("realtime_token_refused", reason=error.reason)
        raise SessionEndedError(codes.INVALID_TOKEN) from None


def _channel_of(command: Command) -> str:
    """Return the channel that a command is about; empty: none."""
    about = command.subscribe or command.publish or command.presence or command.presence_stats
    return (about.channel or "") if about is not None else ""
