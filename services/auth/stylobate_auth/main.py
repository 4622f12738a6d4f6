"""Builds the auth service: the only place that names an adapter."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Union

from stylobate.api.auth.v1.access_service_pb2_grpc import add_AccessServiceServicer_to_server
from stylobate.api.auth.v1.account_key_service_pb2_grpc import add_AccountKeyServiceServicer_to_server
from stylobate.api.auth.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from stylobate.api.auth.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from stylobate.api.auth.v1.first_admin_service_pb2_grpc import add_FirstAdminServiceServicer_to_server
from stylobate.api.auth.v1.grant_service_pb2_grpc import add_GrantServiceServicer_to_server
from stylobate.api.auth.v1.oauth_service_pb2_grpc import add_OAuthServiceServicer_to_server
from stylobate.api.auth.v1.role_service_pb2_grpc import add_RoleServiceServicer_to_server
from stylobate.api.auth.v1.service_account_service_pb2_grpc import add_ServiceAccountServiceServicer_to_server
from stylobate.api.auth.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from stylobate.api.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from stylobate.api.auth.v1.user_directory_service_pb2_grpc import add_UserDirectoryServiceServicer_to_server
from stylobate.api.auth.v1.user_export_service_pb2_grpc import add_UserExportServiceServicer_to_server
from stylobate.api.auth.v1.user_password_service_pb2_grpc import add_UserPasswordServiceServicer_to_server
from stylobate.api.auth.v1.user_profile_service_pb2_grpc import add_UserProfileServiceServicer_to_server
from stylobate.api.auth.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.clients.limits import LimitsClient
from stylobate.declarations.model import ModuleDeclaration
from stylobate.idempotency import Idempotency, Keeping
from stylobate.identity.access_token import ISSUER
from stylobate.leases import LeaseManager
from stylobate.outbox import Relay
from stylobate.resilience import prune_forever, wait_for_dependency
from stylobate.value_kinds import OnUnreachable

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.account_key_servicer import AccountKeyServicer
from stylobate_auth.account_manager import AccountManager
from stylobate_auth.account_reencryptor import AccountReencryptor
from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.account_sealing_keys import open_account_sealing
from stylobate_auth.api_key_manager import ApiKeyManager
from stylobate_auth.breached_passwords import BreachedPasswords
from stylobate_auth.client_assertion import ClientAssertions
from stylobate_auth.endings import Endings
from stylobate_auth.export_sources import ExportSources
from stylobate_auth.failed_login_manager import FailedLoginManager
from stylobate_auth.first_admin_manager import FirstAdminManager
from stylobate_auth.first_admin_servicer import FirstAdminServicer
from stylobate_auth.grant_manager import GrantManager
from stylobate_auth.grant_servicer import GrantServicer
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.login_limits import LoginLimits
from stylobate_auth.mail.opening import open_mail
from stylobate_auth.oauth_manager import OAuthManager
from stylobate_auth.oauth_servicer import OAuthServicer
from stylobate_auth.others import OtherServices
from stylobate_auth.outages import Outages
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.password_rules import PasswordRules
from stylobate_auth.profile_manager import ProfileManager
from stylobate_auth.refresh_manager import RefreshManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.role_definition_manager import RoleDefinitionManager
from stylobate_auth.role_manager import RoleManager
from stylobate_auth.role_servicer import RoleServicer
from stylobate_auth.service_account_manager import ServiceAccountManager
from stylobate_auth.servicer import (
    AccessServicer,
    ApiKeyServicer,
    AuthServicer,
    ServiceAccountServicer,
    SessionServicer,
    TokenServicer,
)
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.settings import AuthSettings
from stylobate_auth.signing_key_opening import open_signing_keys
from stylobate_auth.store.postgres import PostgresAuthStore
from stylobate_auth.store.redis import RedisSessionCopies
from stylobate_auth.user_directory import UserDirectory
from stylobate_auth.user_directory_servicer import UserDirectoryServicer
from stylobate_auth.user_eraser import UserEraser
from stylobate_auth.user_export_servicer import UserExportServicer
from stylobate_auth.user_exporter import UserExporter
from stylobate_auth.user_manager import UserManager
from stylobate_auth.user_password_servicer import UserPasswordServicer
from stylobate_auth.user_profile_manager import UserProfileManager
from stylobate_auth.user_profile_servicer import UserProfileServicer
from stylobate_auth.user_servicer import UserServicer

if TYPE_CHECKING:
    from stylobate_auth.store.mongodb import MongoAuthStore

Store = Union[PostgresAuthStore, "MongoAuthStore"]


async def build(app: AppManager, settings: AuthSettings) -> None:
    """Put the service together."""
    storage = await app.storage()
    leases = LeaseManager(storage.leases(), app.node)
    relay = _relay(app, settings, storage, leases)
    mail_is_due = asyncio.Event()
    sealing = await open_account_sealing(app, settings, storage.data_keys())
    store = await _store(app, storage, leases, sealing=sealing, on_events=relay.wake, on_mails=mail_is_due.set)
    keeping = Keeping(hashlib.sha256(b"idempotency\0" + settings.signing_key.encode()).digest())
    idempotency = Idempotency(storage.idempotency(), _now, keeping=keeping)
    hasher = await app.enter(
        PasswordHasher.open(
            memory_kib=settings.argon2_memory_kib,
            time_cost=settings.argon2_time_cost,
            parallelism=settings.argon2_parallelism,
            threads=settings.threads,
            queue=settings.hashing_queue,
        )
    )
    limits = await _limits(app, settings)
    outages = Outages()
    revocations = RevocationManager(store, clock=_now, outages=outages)
    access = AccessManager(
        store,
        _roles_of(app.declarations.modules),
        permissions=[name for module in app.declarations.modules for name in module.permissions],
        clock=_now,
    )
    signing_keys = await open_signing_keys(app, settings, store, access=access, idempotency=idempotency)
    tokens = JWTManager(signing_keys.ring, settings.access_token_lifetime)
    copies = RedisSessionCopies(app.redis, _now)
    rules = PasswordRules(BreachedPasswords(Path(settings.breached_passwords)) if settings.breached_passwords else None)
    sessions = SessionManager(
        store,
        copies,
        tokens,
        revocations,
        bans=app.bans,
        lifetimes=settings.lifetimes,
        clock=_now,
    )
    refreshes = await app.enter(
        RefreshManager(store, sessions, tokens, limits, bans=app.bans, lifetimes=settings.lifetimes, outages=outages, clock=_now)
    )
    mail = open_mail(app, settings, store, due=mail_is_due)
    accounts = AccountManager(
        store,
        hasher,
        rules,
        sessions,
        access,
        limits=limits,
        failures=_failed_logins(app, store),
        place_lifetime=settings.login_place_lifetime,
        mail=mail,
        registration=settings.registers,
        allow_test_domains=settings.is_development,
        clock=_now,
    )
    keys = ApiKeyManager(
        store, access, revocations, environment=settings.environment, most=settings.api_keys_per_account, clock=_now
    )
    machines = ServiceAccountManager(store, access, revocations, clock=_now)
    passwords = PasswordManager(store, hasher, rules, sessions, limits=limits, mail=mail, clock=_now)
    profiles = ProfileManager(
        store,
        passwords,
        sessions,
        limits=limits,
        mail=mail,
        allow_test_domains=settings.is_development,
        clock=_now,
    )
    await wait_for_dependency("the roles in the database of auth", access.announce)
    await wait_for_dependency("the deny-list in the database of auth", revocations.look)
    app.task("revocations", revocations.run)
    app.task("relay", relay.run)
    app.task("prune", lambda: prune_forever(partial(_prune, store)))
    app.task("idempotency", idempotency.run)
    app.task("api-keys-used", keys.run)
    app.check("revocations", revocations.health)
    app.servicer(
        add_AuthServiceServicer_to_server,
        AuthServicer(accounts, passwords, profiles, sessions, refreshes, tokens=tokens, idempotency=idempotency),
    )
    others = UserProfileManager(store, mail=mail, allow_test_domains=settings.is_development, clock=_now)
    app.servicer(add_UserProfileServiceServicer_to_server, UserProfileServicer(others, idempotency))
    _serve_first_admin(app, settings, store, accounts, limits=limits, idempotency=idempotency)
    app.servicer(add_SessionServiceServicer_to_server, SessionServicer(sessions, idempotency))
    app.servicer(add_TokenServiceServicer_to_server, TokenServicer(signing_keys, revocations, keys))
    app.servicer(
        add_OAuthServiceServicer_to_server,
        OAuthServicer(
            OAuthManager(
                store,
                keys,
                tokens,
                access,
                sessions=sessions,
                refreshes=refreshes,
                revocations=revocations,
                limits=limits,
                verifier=app.verifier,
                assertions=ClientAssertions(store, _audiences(settings), clock=_now),
                environment=settings.environment,
                clock=_now,
            )
        ),
    )
    app.servicer(add_ApiKeyServiceServicer_to_server, ApiKeyServicer(keys, idempotency))
    app.servicer(add_ServiceAccountServiceServicer_to_server, ServiceAccountServicer(machines, idempotency))
    _serve_users(
        app,
        store,
        UserManager(store, access, sessions, revocations, token_lifetime=settings.access_token_lifetime, clock=_now),
        passwords,
        sessions,
        limits=limits,
        sources=_export_sources(app, storage),
        directory=UserDirectory(store, access),
        fresh=settings.fresh_login,
        idempotency=idempotency,
    )
    _serve_access(app, store, access, idempotency)


def _audiences(settings: AuthSettings) -> list[str]:
    """Return whom clients of OAuth may address what they sign to."""
    return [settings.public_url, f"{settings.public_url}/oauth2/token"] if settings.public_url else [ISSUER]


async def _store(
    app: AppManager,
    storage: Storage,
    leases: LeaseManager,
    *,
    sealing: AccountSealing,
    on_events: Callable[[], None],
    on_mails: Callable[[], None],
) -> "Store":
    """Return the store in the service's database, of whichever kind that is, with the audit trail beside it."""
    match storage:
        case PostgresStorage():
            trail = await app.audit_trail(storage.audit(), storage.audit_chain(app.name), leases)
            return PostgresAuthStore(
                storage.database,
                storage.outbox(app.name),
                trail,
                storage.idempotency(),
                sealing=sealing,
                on_events=on_events,
                on_mails=on_mails,
            )
        case MongoStorage():
            from stylobate_auth.store.mongodb import MongoAuthStore  # noqa: PLC0415  its driver is for whoever has such a database

            mongo_trail = await app.audit_trail(storage.audit(), storage.audit_chain(app.name), leases)
            return MongoAuthStore(
                storage.database,
                storage.outbox(app.name),
                mongo_trail,
                storage.idempotency(),
                sealing=sealing,
                on_events=on_events,
                on_mails=on_mails,
            )


def _relay(app: AppManager, settings: AuthSettings, storage: Storage, leases: LeaseManager) -> Relay:
    """Return what numbers the service's events, watched by its health."""
    log = storage.event_log(app.name)
    relay = Relay(
        log,
        storage.numbering(app.name),
        leases,
        app.redis,
        retention=settings.event_retention,
        on_numbered=app.event_log(log),
    )
    app.check("relay", relay.health)
    return relay


async def _limits(app: AppManager, settings: AuthSettings) -> LoginLimits:
    # what nobody can count is counted here: see LoginLimits
    client = await app.enter(LimitsClient(app.channel("ratelimit"), on_unreachable=OnUnreachable.CLOSED))
    return LoginLimits(client, settings, hashlib.sha256(settings.signing_key.encode()).digest(), rules=app.limit_rules)


async def _prune(store: "Store") -> int:
    """Remove what is over by the database's clock, which all processes share."""
    return await store.prune(await store.now())


def _failed_logins(app: AppManager, store: "Store") -> FailedLoginManager:
    failures = FailedLoginManager(store, _now)
    app.task("failed-logins", failures.run)
    return failures


def _export_sources(app: AppManager, storage: Storage) -> ExportSources:
    channels = {other: app.channel(other) for other in ("state", "actions", "ratelimit")}
    return ExportSources(channels, storage.audit(), [*app.declarations.namespaces])


def _serve_first_admin(
    app: AppManager,
    settings: AuthSettings,
    store: "Store",
    accounts: AccountManager,
    *,
    limits: LoginLimits,
    idempotency: Idempotency,
) -> None:
    page = f"{settings.public_url}/first-admin" if settings.is_development and settings.public_url else ""
    manager = FirstAdminManager(store, accounts, limits=limits, page=page, clock=_now)
    app.servicer(add_FirstAdminServiceServicer_to_server, FirstAdminServicer(manager, idempotency))


def _serve_access(app: AppManager, store: "Store", access: AccessManager, idempotency: Idempotency) -> None:
    """Serve decisions, and the roles and grants that they are made by, which end when their time is over."""
    roles = RoleManager(store, access, clock=_now)
    grants = GrantManager(store, access, namespaces=app.declarations.namespaces, clock=_now)
    app.task("ends", Endings(store, [roles.end_due, grants.end_due], clock=_now).run)
    definitions = RoleDefinitionManager(store, access, clock=_now)
    app.servicer(add_RoleServiceServicer_to_server, RoleServicer(roles, definitions, idempotency))
    app.servicer(add_GrantServiceServicer_to_server, GrantServicer(grants, idempotency))
    app.servicer(add_AccessServiceServicer_to_server, AccessServicer(access))


def _serve_users(
    app: AppManager,
    store: "Store",
    users: UserManager,
    passwords: PasswordManager,
    sessions: SessionManager,
    *,
    limits: LoginLimits,
    sources: ExportSources,
    directory: UserDirectory,
    fresh: timedelta,
    idempotency: Idempotency,
) -> None:
    eraser = UserEraser(store, users, passwords, OtherServices(app.channel("state"), app.channel("actions")), clock=_now)
    app.task("user_deletions", eraser.run)
    app.check("user_deletions", eraser.health)
    app.servicer(add_UserServiceServicer_to_server, UserServicer(users, eraser, idempotency))
    app.servicer(add_UserPasswordServiceServicer_to_server, UserPasswordServicer(passwords, idempotency))
    app.servicer(add_AccountKeyServiceServicer_to_server, AccountKeyServicer(AccountReencryptor(store, store.sealing)))
    exporter = UserExporter(store, users, sessions, sources, limits=limits, fresh=fresh, clock=_now)
    app.servicer(add_UserExportServiceServicer_to_server, UserExportServicer(exporter))
    app.servicer(add_UserDirectoryServiceServicer_to_server, UserDirectoryServicer(directory))


def _roles_of(modules: Iterable[ModuleDeclaration]) -> dict[str, dict[str, str]]:
    """Return the permissions of declared roles, each with the module that adds it."""
    roles: dict[str, dict[str, str]] = {}
    for module in modules:
        for role, permissions in module.roles.items():
            for permission in permissions:
                roles.setdefault(role, {}).setdefault(permission, module.name)
    return roles


def _now() -> datetime:
    return datetime.now(UTC)
