"""Puts the signing keys of the auth service together."""

from datetime import UTC, datetime
from functools import partial

from stylobate.api.auth.v1.signing_key_service_pb2_grpc import add_SigningKeyServiceServicer_to_server
from stylobate.app.key_encryption import key_encryption
from stylobate.app.manager import AppManager
from stylobate.encryption import SecretKeyEncryption
from stylobate.idempotency import Idempotency
from stylobate.identity.access_token import ISSUER
from stylobate.resilience import prune_forever, wait_for_dependency

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.jwt_manager import signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.settings import AuthSettings
from stylobate_auth.signing_key_manager import SigningKeyManager
from stylobate_auth.signing_key_servicer import SigningKeyServicer
from stylobate_auth.store.port import AuthStore


async def open_signing_keys(
    app: AppManager,
    settings: AuthSettings,
    store: AuthStore,
    *,
    access: AccessManager,
    idempotency: Idempotency,
) -> SigningKeyManager:
    """Load the signing keys, which are sealed in the database, and keep and serve them from now on."""
    secret = SecretKeyEncryption(*settings.key_encryption, purpose="auth.key_encryption")

    async def take(fresh: AuthSettings) -> None:
        secret.use(*fresh.key_encryption)

    app.follow("key_encryption_key", "key_encryption_key_before", take=take)
    keys = SigningKeyManager(
        store,
        KeyRing(settings.public_url or ISSUER),
        await key_encryption(app, settings, secret, purpose="auth.key_encryption") or secret,
        access,
        first=signing_key(settings.signing_key),
        algorithm=settings.signing_algorithm,
        every=settings.signing_key_rotation,
        notice=settings.signing_key_notice,
        clock=_now,
    )
    await wait_for_dependency("the signing keys in the database of auth", keys.start)
    app.task("signing-keys", keys.run)
    app.task("signing-keys-prune", lambda: prune_forever(partial(_prune_keys, store, keys)))
    app.check("signing-keys", keys.health)
    app.servicer(add_SigningKeyServiceServicer_to_server, SigningKeyServicer(keys, idempotency))
    return keys


async def _prune_keys(store: AuthStore, keys: SigningKeyManager) -> int:
    return await keys.prune(await store.now())


def _now() -> datetime:
    return datetime.now(UTC)
