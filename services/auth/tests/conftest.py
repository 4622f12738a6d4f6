"""The managers of auth on the memory store and a clock that moves when told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
import pytest
from stylobate.clients.bans import BanList
from stylobate.errors import UnavailableError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.rpc.call import Call
from stylobate.testing import FakeClock
from stylobate_auth.access_manager import AccessManager
from stylobate_auth.account_manager import AccountManager
from stylobate_auth.api_key_manager import ApiKeyManager
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.login_limits import LoginLimits
from stylobate_auth.model import Account, AccountDraft, Tokens
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.password_rules import PasswordRules
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.service_account_manager import ServiceAccountManager
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.settings import AuthSettings

from .memory_store import MemoryAuthStore, MemorySessionCopies

PASSWORD = "correct horse battery staple"
DECLARED = {"user": {"orders:create"}, "clerk": {"orders:read", "orders:ship"}, "manager": {"users:create", "orders:*"}}


@dataclass
class Auth:
    """Everything, put together as ``main.py`` does."""

    clock: FakeClock
    store: MemoryAuthStore
    copies: MemorySessionCopies
    tokens: JWTManager
    hasher: PasswordHasher
    revocations: RevocationManager
    limits: LoginLimits
    access: AccessManager
    bans: BanList
    sessions: SessionManager
    accounts: AccountManager
    passwords: PasswordManager
    keys: ApiKeyManager
    machines: ServiceAccountManager
    origin = Call(request_id="request-1", principal=ANONYMOUS.with_via("gateway"))
    service = Principal(kind=PrincipalKind.SERVICE, id="service:cli", via="cli")

    def draft(self, email: str = "ada@example.com", password: str = PASSWORD, **more: Any) -> AccountDraft:
        """Return an account to make."""
        return AccountDraft(email, password, **more)

    async def register(self, email: str = "ada@example.com", **more: Any) -> Account:
        """Make an account."""
        return await self.accounts.register(self.draft(email, **more), self.origin)

    async def login(self, email: str = "ada@example.com", password: str = PASSWORD) -> Tokens:
        """Log in."""
        return (await self.accounts.login(email, password, self.origin))[1]

    def principal(self, tokens: Tokens) -> Principal:
        """Return whom an access token names, unverified."""
        claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
        return Principal(
            kind=PrincipalKind.USER,
            id=claims["sub"],
            tenant=claims["tenant"],
            session=claims["sid"],
            token_id=claims["jti"],
            roles=tuple(claims["roles"]),
        )


class NoLimits:
    """A ratelimit service that is away: auth counts by itself."""

    async def check(self, levels: Any, subjects: Any) -> Any:
        """Refuse."""
        raise UnavailableError


def build(clock: FakeClock, hasher: PasswordHasher, *, is_open: bool = True, **rules: str) -> Auth:
    """Put the managers together."""
    store, copies = MemoryAuthStore(clock), MemorySessionCopies()
    tokens = JWTManager(signing_key("s" * 32), timedelta(minutes=10))
    revocations = RevocationManager(store, clock=clock)
    access = AccessManager(store, DECLARED)
    limits = LoginLimits(NoLimits(), AuthSettings(**rules), b"key", clock=lambda: clock().timestamp())
    bans = BanList(lambda: clock().timestamp())
    lifetime = timedelta(days=30)
    sessions = SessionManager(store, copies, tokens, revocations, limits, bans=bans, refresh_lifetime=lifetime, clock=clock)
    rules = PasswordRules()
    passwords = PasswordManager(store, hasher, rules, sessions, limits)
    accounts = AccountManager(
        store,
        hasher,
        rules,
        sessions,
        access,
        limits=limits,
        place_lifetime=timedelta(days=90),
        is_open=is_open,
        allow_test_domains=False,
        clock=clock,
    )
    machines = ServiceAccountManager(store, access, revocations, clock=clock)
    keys = ApiKeyManager(store, access, revocations, environment="development", most=3, clock=clock)
    return Auth(
        clock, store, copies, tokens, hasher, revocations, limits, access, bans, sessions, accounts, passwords, keys, machines
    )


@pytest.fixture
def clock() -> FakeClock:
    """Return the clock."""
    return FakeClock()


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    """Return a hasher that is as cheap as Argon2 can be."""
    async with PasswordHasher.open(memory_kib=8, time_cost=1, parallelism=1, threads=2, queue=8) as hasher:
        yield hasher


@pytest.fixture
def auth(clock: FakeClock, hasher: PasswordHasher) -> Auth:
    """Return an auth where anyone may register."""
    return build(clock, hasher)


@pytest.fixture
def closed_auth(clock: FakeClock, hasher: PasswordHasher) -> Auth:
    """Return an auth where nobody may register."""
    return build(clock, hasher, is_open=False)
