"""Service keys and the tokens made with them."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.config import ConfigError
from stylobate.errors import TokenInvalidError
from stylobate.identity import SERVICE_NAMES, ServiceIdentity, generate_service_keys


class _Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    """Return Unix seconds that move when told."""
    return _Clock()


@pytest.fixture
def keys() -> dict[str, Ed25519PrivateKey]:
    """Return the private keys of two services."""
    return {"state": Ed25519PrivateKey.generate(), "actions": Ed25519PrivateKey.generate()}


def _identity(name: str, keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> ServiceIdentity:
    return ServiceIdentity(name, keys[name], {other: key.public_key() for other, key in keys.items()}, clock)


def test_a_service_proves_itself_to_another(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """The token names its signer, from memory the second time as well."""
    token = _identity("state", keys, clock).token()
    actions = _identity("actions", keys, clock)
    assert actions.verify(token) == "state"
    assert actions.verify(token) == "state"


def test_a_token_is_kept_until_half_its_life(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """Signing happens every 150 s, and each token in use has at least 150 s left."""
    state, actions = _identity("state", keys, clock), _identity("actions", keys, clock)
    first = state.token()
    clock.now += 149
    assert state.token() == first
    clock.now += 1
    second = state.token()
    assert second != first
    clock.now += 149
    assert actions.verify(second) == "state"


def test_a_token_ends_also_in_the_cache(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """After five minutes it is refused though it was verified before."""
    token, actions = _identity("state", keys, clock).token(), _identity("actions", keys, clock)
    actions.verify(token)
    clock.now += 300
    with pytest.raises(TokenInvalidError):
        actions.verify(token)


def test_no_service_can_speak_for_another(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """A token that names another service than its signer, an unknown one, or claims of another is refused."""
    actions = _identity("actions", keys, clock)
    pretender = ServiceIdentity("actions", keys["state"], {}, clock)
    unknown = ServiceIdentity("billing", Ed25519PrivateKey.generate(), {}, clock)
    now = int(clock.now)
    claims = {"iss": "service:state", "sub": "service:actions", "aud": "stylobate", "iat": now, "exp": now + 300}
    mixed = jwt.encode(claims, keys["state"], algorithm="EdDSA", headers={"typ": "st+jwt", "kid": "state"})
    for token in (pretender.token(), unknown.token(), mixed):
        with pytest.raises(TokenInvalidError):
            actions.verify(token)


@pytest.mark.parametrize("changes", [{"typ": "at+jwt"}, {"exp": 86_400}, {"iat": 3_600}, {"aud": "someone"}], ids=str)
def test_tokens_of_another_kind_or_life_are_refused(
    keys: dict[str, Ed25519PrivateKey], clock: _Clock, changes: dict[str, str | int]
) -> None:
    """The right key is not enough: type, audience, lifetime and time must fit."""
    now = int(clock.now)
    issued_at = now + int(changes.get("iat", 0))
    claims = {"iss": "service:state", "sub": "service:state", "iat": issued_at, "exp": issued_at + int(changes.get("exp", 300))}
    claims["aud"] = str(changes.get("aud", "stylobate"))
    headers = {"typ": str(changes.get("typ", "st+jwt")), "kid": "state"}
    token = jwt.encode(claims, keys["state"], algorithm="EdDSA", headers=headers)
    with pytest.raises(TokenInvalidError):
        _identity("actions", keys, clock).verify(token)


@pytest.mark.parametrize("token", ["", "x.y.z", "é", "a" * 5000])
def test_garbage_is_refused(keys: dict[str, Ed25519PrivateKey], clock: _Clock, token: str) -> None:
    """Text that is no token has its own clear error."""
    with pytest.raises(TokenInvalidError):
        _identity("actions", keys, clock).verify(token)


def test_keys_are_generated_once(tmp_path: Path) -> None:
    """Each service gets a pair that loads; the private half is for its owner only; a second run changes nothing."""
    folder = tmp_path / "identity"
    generate_service_keys(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 2 * len(SERVICE_NAMES)
    assert stat.S_IMODE((folder / "auth.pem").stat().st_mode) == 0o600
    generate_service_keys(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    state = ServiceIdentity.load("state", folder / "state.pem", folder)
    assert ServiceIdentity.load("auth", folder / "auth.pem", folder).verify(state.token()) == "state"


def test_processes_that_generate_at_once_agree(tmp_path: Path) -> None:
    """Whoever wins, every pair fits and nothing half-written is left."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: generate_service_keys(tmp_path), range(8)))
    for name in SERVICE_NAMES:
        ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(SERVICE_NAMES)


def test_keys_that_do_not_fit_stop_the_start(tmp_path: Path) -> None:
    """A missing, broken or foreign key is one clear line that names the file."""
    generate_service_keys(tmp_path, ["state", "auth"])
    with pytest.raises(ConfigError, match=r"missing\.pem: missing"):
        ServiceIdentity.load("state", tmp_path / "missing.pem", tmp_path)
    with pytest.raises(ConfigError, match=r"auth\.pem: does not belong to .*state\.pub\.pem"):
        ServiceIdentity.load("state", tmp_path / "auth.pem", tmp_path)
    with pytest.raises(ConfigError, match=r"gateway\.pub\.pem: missing"):
        ServiceIdentity.load("gateway", tmp_path / "state.pem", tmp_path)
    (tmp_path / "state.pub.pem").write_text("junk")
    with pytest.raises(ConfigError, match=r"state\.pub\.pem: cannot be read"):
        ServiceIdentity.load("state", tmp_path / "state.pem", tmp_path)
