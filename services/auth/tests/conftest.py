"""The managers of auth on the memory store and a clock that moves when told."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
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
from stylobate_auth.export_document import Told
from stylobate_auth.failed_login_manager import FailedLoginManager
from stylobate_auth.grant_manager import GrantManager
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.login_limits import LoginLimits
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.mail.port import Mail
from stylobate_auth.mail.sender import MailSender
from stylobate_auth.mail.templates import MailTemplates
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.model import Account, AccountDraft, Tokens
from stylobate_auth.outages import Outages
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.password_rules import PasswordRules
from stylobate_auth.profile_manager import ProfileManager
from stylobate_auth.refresh_manager import RefreshManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.role_definition_manager import RoleDefinitionManager
from stylobate_auth.role_manager import RoleManager
from stylobate_auth.service_account_manager import ServiceAccountManager
from stylobate_auth.session_lifetimes import SessionLifetimes
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.settings import AuthSettings, Registration
from stylobate_auth.user import UserDeletion
from stylobate_auth.user_eraser import UserEraser
from stylobate_auth.user_exporter import UserExporter
from stylobate_auth.user_manager import UserManager
from stylobate_auth.user_profile_manager import UserProfileManager

from .memory_session_copies import MemorySessionCopies
from .memory_store import MemoryAuthStore
from .stores import bench, durable, memory, mongodb, postgres

__all__ = ["bench", "durable", "memory", "mongodb", "postgres"]

PASSWORD = "correct horse battery staple"
GRACE = timedelta(seconds=5)
DECLARED = {"user": {"orders:create"}, "clerk": {"orders:read", "orders:ship"}, "manager": {"users:create", "orders:*"}}

PERMISSIONS = ("orders:create", "orders:read", "orders:ship")


def declared(roles: Any) -> Any:
    """Return roles as of one module."""
    return {name: dict.fromkeys(permissions, "shop") for name, permissions in roles.items()}


LIFETIMES = {
    MailKind.RESET_PASSWORD: timedelta(hours=1),
    MailKind.VERIFY_EMAIL: timedelta(days=1),
    MailKind.CHANGE_EMAIL: timedelta(days=1),
}


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
    refreshes: RefreshManager
    accounts: AccountManager
    passwords: PasswordManager
    keys: ApiKeyManager
    machines: ServiceAccountManager
    roles: RoleManager
    grants: GrantManager
    definitions: RoleDefinitionManager
    profiles: ProfileManager
    user_profiles: UserProfileManager
    users: UserManager
    eraser: UserEraser
    exporter: UserExporter
    failures: FailedLoginManager
    others: "Forgetful"
    post: "Post"
    outages: Outages
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


class Post:
    """Mail that is handed over to this process's memory, when told so."""

    def __init__(self, store: MemoryAuthStore, clock: FakeClock) -> None:
        self.tokens = MailTokens(b"key")
        self.sent: list[Mail] = []
        self.fault: Exception | None = None
        self.sender = MailSender(
            store,
            self,
            MailTemplates("Shop"),
            self.tokens,
            links={MailKind.RESET_PASSWORD: "https://shop.example/reset#{token}"},
            timeout=timedelta(seconds=20),
            due=asyncio.Event(),
            clock=clock,
        )

    async def send(self, mail: Mail) -> None:
        """Take a mail, and say that it could not be noted if so told."""
        self.sent.append(mail)
        if self.fault is not None:
            raise self.fault

    async def mails(self) -> list[Mail]:
        """Send what is due and return it."""
        before = len(self.sent)
        while await self.sender.send_due():
            pass
        return self.sent[before:]

    async def token(self) -> str:
        """Return the token of the one mail that is due."""
        (mail,) = await self.mails()
        (token,) = re.findall(r"[A-Za-z0-9_-]{43}", mail.text)
        return str(token)


class Forgetful:
    """The other services: they note whom they forgot, or fail when told so; and tell what they are given to tell."""

    def __init__(self) -> None:
        self.tells: list[Told] = []
        self.forgot: list[str] = []
        self.fault: Exception | None = None
        self.spared = ""
        """Whom no fault concerns."""

    async def forget(self, deletion: UserDeletion) -> None:
        """Forget."""
        if self.fault is not None and deletion.id != self.spared:
            raise self.fault
        self.forgot.append(deletion.id)

    async def told(self, tenant: str, user_id: str, request_id: str) -> AsyncGenerator[Told, None]:
        """Tell."""
        del tenant, user_id, request_id
        for one in self.tells:
            yield one


class NoLimits:
    """A ratelimit service that is away: auth counts by itself."""

    async def check(self, levels: Any, subjects: Any) -> Any:
        """Refuse."""
        raise UnavailableError


def build(
    clock: FakeClock, hasher: PasswordHasher, *, registration: Registration = "open", has_mail: bool = True, **rules: str
) -> Auth:
    """Put the managers together."""
    store, copies = MemoryAuthStore(clock), MemorySessionCopies()
    tokens = JWTManager(KeyRing.of(signing_key("s" * 32)), timedelta(minutes=10))
    revocations = RevocationManager(store, clock=clock)
    access = AccessManager(store, declared(DECLARED), permissions=PERMISSIONS, clock=clock)
    limits = LoginLimits(NoLimits(), AuthSettings(**rules), b"key", clock=lambda: clock().timestamp())
    outages = Outages(lambda: clock().timestamp())
    bans = BanList(lambda: clock().timestamp())
    lifetimes = SessionLifetimes(timedelta(days=30), timedelta(days=100), GRACE)
    sessions = SessionManager(store, copies, tokens, revocations, bans=bans, lifetimes=lifetimes, clock=clock)
    refreshes = RefreshManager(store, sessions, tokens, limits, bans=bans, lifetimes=lifetimes, outages=outages, clock=clock)
    password_rules = PasswordRules()
    post = Post(store, clock)
    mail = OutgoingMail(post.tokens, is_on=has_mail, lifetimes=LIFETIMES, clock=clock)
    passwords = PasswordManager(store, hasher, password_rules, sessions, limits=limits, mail=mail, clock=clock)
    profiles = ProfileManager(store, passwords, sessions, limits=limits, mail=mail, allow_test_domains=False, clock=clock)
    failures = FailedLoginManager(store, clock)
    accounts = AccountManager(
        store,
        hasher,
        password_rules,
        sessions,
        access,
        limits=limits,
        failures=failures,
        place_lifetime=timedelta(days=90),
        mail=mail,
        registration=registration,
        allow_test_domains=False,
        clock=clock,
    )
    machines = ServiceAccountManager(store, access, revocations, clock=clock)
    roles = RoleManager(store, access, clock=clock)
    others = Forgetful()
    users = UserManager(store, access, sessions, revocations, token_lifetime=tokens.lifetime, clock=clock)
    definitions = RoleDefinitionManager(store, access, clock=clock)
    keys = ApiKeyManager(store, access, revocations, environment="development", most=3, clock=clock)
    return Auth(
        clock,
        store,
        copies,
        tokens,
        hasher,
        revocations,
        limits,
        access,
        bans,
        sessions,
        refreshes,
        accounts,
        passwords,
        keys,
        machines,
        roles,
        GrantManager(store, access, namespaces={"orders"}, clock=clock),
        definitions,
        profiles,
        UserProfileManager(store, mail=mail, allow_test_domains=False, clock=clock),
        users,
        UserEraser(store, users, passwords, others, clock=clock),
        UserExporter(store, users, sessions, others, limits=limits, fresh=timedelta(minutes=15), clock=clock),
        failures,
        others,
        post,
        outages,
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
async def auth(clock: FakeClock, hasher: PasswordHasher) -> AsyncIterator[Auth]:
    """Return an auth where anyone may register."""
    auth = build(clock, hasher)
    async with auth.refreshes:
        yield auth


@pytest.fixture
def closed_auth(clock: FakeClock, hasher: PasswordHasher) -> Auth:
    """Return an auth where nobody may register."""
    return build(clock, hasher, registration="closed")
