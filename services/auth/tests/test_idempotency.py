"""Changes of auth with an idempotency key: the answer that got lost comes again, and is kept where nobody can read it."""

from typing import Any

import pytest
from stylobate.api.auth.v1 import auth_service_pb2 as pb
from stylobate.idempotency import Idempotency, IdempotencyKeyReusedError, Keeping
from stylobate.identity import ANONYMOUS, Principal
from stylobate.rpc.call import Call, current_call
from stylobate_auth.errors import EmailTakenError, InvalidCredentialsError, RefreshReusedError
from stylobate_auth.servicer import AuthServicer

from .conftest import GRACE, PASSWORD, Auth

REGISTER = pb.RegisterUserRequest(email="ada@example.com", password=PASSWORD, idempotency_key="register")
LOGIN = pb.LoginUserRequest(email="ada@example.com", password=PASSWORD, idempotency_key="login")


class Service:
    """The RPCs over the memory store."""

    def __init__(self, auth: Auth) -> None:
        idempotency = Idempotency(auth.store.ledger, auth.clock, keeping=Keeping(b"s" * 32))
        self.servicer = AuthServicer(
            auth.accounts,
            auth.passwords,
            auth.profiles,
            auth.sessions,
            auth.refreshes,
            tokens=auth.tokens,
            idempotency=idempotency,
        )

    async def call(self, request: Any, principal: Principal = ANONYMOUS) -> Any:
        """Make the call that the request is of."""
        current_call.set(Call(principal=principal))
        return await getattr(self.servicer, type(request).__name__.removesuffix("Request"))(request, None)

    async def twice(self, request: Any, principal: Principal = ANONYMOUS) -> Any:
        """Make the call two times and return the one answer."""
        first, again = await self.call(request, principal), await self.call(request, principal)
        assert (first.replayed, again.replayed) == (False, True)
        again.replayed = False
        assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
        return first


def refresh(token: str, key: str) -> pb.RefreshSessionRequest:
    """Return a request."""
    return pb.RefreshSessionRequest(refresh_token=token, idempotency_key=key)


async def test_each_change_happens_once(auth: Auth) -> None:
    """Register, login, refresh and logout that come twice with their keys happen once, and answer the same to the byte."""
    service = Service(auth)
    await service.twice(REGISTER)
    tokens = (await service.twice(LOGIN)).tokens
    newer = (await service.twice(refresh(tokens.refresh_token, "refresh"))).tokens
    assert newer.refresh_token != tokens.refresh_token
    events = [event.type for event in auth.store.events]
    assert events == ["auth.user.registered", "auth.session.opened"]  # no session was ended as stolen
    principal = auth.principal(await auth.login())
    await service.twice(pb.LogoutSessionRequest(idempotency_key="logout"), principal)
    assert [event.type for event in auth.store.events].count("auth.session.ended") == 1


async def test_a_key_is_no_way_around_a_check(auth: Auth) -> None:
    """A known key with another password tells nothing, refusals are not kept, and without its key a spent token is theft."""
    service = Service(auth)
    await service.call(REGISTER)
    with pytest.raises(EmailTakenError):
        await service.call(pb.RegisterUserRequest(email="ada@example.com", password=PASSWORD, idempotency_key="another"))
    token = (await service.call(LOGIN)).tokens.refresh_token
    with pytest.raises(IdempotencyKeyReusedError):
        await service.call(pb.LoginUserRequest(email=LOGIN.email, password="wrong", idempotency_key="login"))
    with pytest.raises(InvalidCredentialsError):
        await service.call(pb.LoginUserRequest(email=LOGIN.email, password="wrong", idempotency_key="another"))
    await service.call(refresh(token, "refresh"))
    auth.clock.advance(2 * GRACE)
    with pytest.raises(RefreshReusedError):
        await service.call(refresh(token, ""))


async def test_no_secret_is_kept(auth: Auth) -> None:
    """Of a login no token stands in the ledger, and its answer is there only for who sends the same request again."""
    service = Service(auth)
    await service.call(REGISTER)
    tokens = (await service.call(LOGIN)).tokens
    kept = b"".join(answer.request + answer.answer for answer, _ in auth.store.ledger._rows.values())
    assert len(kept) > len(tokens.access_token)
    assert tokens.refresh_token.encode() not in kept
    assert tokens.access_token.encode() not in kept
    assert (await service.call(LOGIN)).tokens == tokens
