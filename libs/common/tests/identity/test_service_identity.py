"""Service keys and the tokens made with them."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.config import ConfigError
from stylobate.errors import TokenInvalidError
from stylobate.health import Status
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import key_holders


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
    token = _identity("state", keys, clock).token("actions")
    actions = _identity("actions", keys, clock)
    assert actions.verify(token) == "state"
    assert actions.verify(token) == "state"


def test_a_token_is_kept_until_half_its_life(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """Signing happens every 150 s, and each token in use has at least 150 s left."""
    state, actions = _identity("state", keys, clock), _identity("actions", keys, clock)
    first = state.token("actions")
    clock.now += 149
    assert state.token("actions") == first
    clock.now += 1
    second = state.token("actions")
    assert second != first
    clock.now += 149
    assert actions.verify(second) == "state"


def test_a_token_ends_also_in_the_cache(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """After five minutes it is refused though it was verified before."""
    token, actions = _identity("state", keys, clock).token("actions"), _identity("actions", keys, clock)
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
    claims = {"iss": "service:state", "sub": "service:actions", "aud": "actions", "iat": now, "exp": now + 300}
    mixed = jwt.encode(claims, keys["state"], algorithm="EdDSA", headers={"typ": "st+jwt", "kid": "state"})
    for token in (pretender.token("actions"), unknown.token("actions"), mixed):
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
    claims["aud"] = str(changes.get("aud", "actions"))
    headers = {"typ": str(changes.get("typ", "st+jwt")), "kid": "state"}
    token = jwt.encode(claims, keys["state"], algorithm="EdDSA", headers=headers)
    with pytest.raises(TokenInvalidError):
        _identity("actions", keys, clock).verify(token)


@pytest.mark.parametrize("token", ["", "x.y.z", "é", "a" * 5000])
def test_garbage_is_refused(keys: dict[str, Ed25519PrivateKey], clock: _Clock, token: str) -> None:
    """Text that is not a token has its own clear error."""
    with pytest.raises(TokenInvalidError):
        _identity("actions", keys, clock).verify(token)


def test_keys_are_generated_once(tmp_path: Path) -> None:
    """Each service gets a pair that loads; the private half is for its owner only; a second run changes nothing."""
    folder = tmp_path / "identity"
    generate_service_keys(folder, key_holders())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 2 * len(key_holders())
    assert stat.S_IMODE((folder / "auth.pem").stat().st_mode) == 0o600
    generate_service_keys(folder, key_holders())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    state = ServiceIdentity.load("state", folder / "state.pem", folder)
    assert ServiceIdentity.load("auth", folder / "auth.pem", folder).verify(state.token("auth")) == "state"


def test_processes_that_generate_at_once_agree(tmp_path: Path) -> None:
    """Whoever wins, every pair fits and nothing half-written is left."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: generate_service_keys(tmp_path, key_holders()), range(8)))
    for name in key_holders():
        ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(key_holders())


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


def _rotate(folder: Path, name: str) -> bytes:
    """Put another private key in place of a service's, its public half beside the old one; return the old public half."""
    old = (folder / f"{name}.pub.pem").read_bytes()
    (folder / f"{name}.pem").unlink()
    generate_service_keys(folder, [name])
    (folder / f"{name}.old.pub.pem").write_bytes(old)
    return old


def test_a_key_is_exchanged_without_a_pause(tmp_path: Path) -> None:
    """The old key holds while its public half is there, the new one from the moment it is; each is found without a restart."""
    generate_service_keys(tmp_path, ["state", "auth"])
    clock = _Clock()
    auth, before = (ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path) for name in ("auth", "state"))
    for identity in (auth, before):
        identity._clock = clock
    old = before.token("auth")
    assert auth.verify(old) == "state"
    _rotate(tmp_path, "state")
    new = ServiceIdentity.load("state", tmp_path / "state.pem", tmp_path)
    new._clock = clock
    clock.now += 2
    assert auth.verify(new.token("auth")) == "state"
    assert auth.verify(old) == "state"
    clock.now += 150
    assert auth.verify(before.token("auth")) == "state"  # it has taken the new key up by itself
    assert len({identity._private_key.private_bytes_raw() for identity in (before, new)}) == 1
    (tmp_path / "state.old.pub.pem").unlink()
    clock.now += 10
    with pytest.raises(TokenInvalidError):
        auth.verify(old)
    assert auth.verify(new.token("auth")) == "state"


def test_a_key_that_is_taken_away_ends_in_the_cache_too(tmp_path: Path) -> None:
    """What was verified with a key that is gone is forgotten within ten seconds, though its token would hold for minutes."""
    generate_service_keys(tmp_path, ["state", "auth"])
    clock = _Clock()
    auth, state = (ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path) for name in ("auth", "state"))
    auth._clock = state._clock = clock
    token = state.token("auth")
    auth.verify(token)
    (tmp_path / "state.pub.pem").unlink()
    clock.now += 10
    with pytest.raises(TokenInvalidError):
        auth.verify(token)


@pytest.mark.parametrize("junk", [b"junk", b""], ids=["junk", "empty"])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, junk: bytes) -> None:
    """While somebody writes keys, or wrote them badly, those read before are used on; once mended they count."""
    generate_service_keys(tmp_path, ["state", "auth"])
    clock = _Clock()
    auth, state = (ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path) for name in ("auth", "state"))
    auth._clock = state._clock = clock
    (tmp_path / "gateway.pub.pem").write_bytes(junk)
    clock.now += 200
    assert auth.verify(state.token("auth")) == "state"
    (tmp_path / "gateway.pub.pem").unlink()
    generate_service_keys(tmp_path, ["gateway"])
    clock.now += 200
    gateway = ServiceIdentity.load("gateway", tmp_path / "gateway.pem", tmp_path)
    gateway._clock = clock
    assert auth.verify(gateway.token("auth")) == "gateway"


def test_tokens_of_unknown_keys_cannot_make_it_read_files_at_will(tmp_path: Path) -> None:
    """A flood of tokens that nobody signed causes a look a second at most."""
    generate_service_keys(tmp_path, ["state", "auth"])
    auth = ServiceIdentity.load("auth", tmp_path / "auth.pem", tmp_path)
    auth._clock = clock = _Clock()
    looks = []
    look = auth._source.read_again
    auth._source.read_again = lambda: (looks.append(1), look())[1]
    stranger = ServiceIdentity("state", Ed25519PrivateKey.generate(), {}, clock)
    for number in range(50):
        with pytest.raises(TokenInvalidError):
            auth.verify(stranger.token("auth"))
        stranger._signed.clear()
        clock.now += 0.1 * (number % 2)
    assert len(looks) <= 1 + 3


@pytest.mark.parametrize(("ahead", "said"), [(40, "40 s ahead of"), (-40, "40 s behind"), (300, "300 s ahead of")])
async def test_clocks_that_differ_are_told(keys: dict[str, Ed25519PrivateKey], clock: _Clock, ahead: int, said: str) -> None:
    """A machine whose clock is off by more than the setting is named in health, and refused where it must be."""
    theirs = _Clock()
    theirs.now = clock.now + ahead
    state, actions = _identity("state", keys, theirs), _identity("actions", keys, clock)
    token = state.token("actions")
    clock.now += 150 if ahead < 0 else 0  # the oldest that it would still send
    if ahead > 0:
        with pytest.raises(TokenInvalidError, match="clocks"):
            actions.verify(token)
    else:
        assert actions.verify(token) == "state"
    health = await actions.health()
    assert (health.status, health.details) == (Status.DEGRADED, f"the clock of state is {said} this one's")
    lenient = ServiceIdentity("actions", keys["actions"], {"state": keys["state"].public_key()}, clock, skew_s=abs(ahead) + 1.0)
    assert lenient.verify(token) == "state"
    assert (await lenient.health()).status is Status.HEALTHY
    clock.now += 301
    assert (await actions.health()).status is Status.HEALTHY


def test_a_clock_that_is_put_back_stops_no_service(keys: dict[str, Ed25519PrivateKey], clock: _Clock) -> None:
    """After a step back of a day tokens are signed for the new time at once."""
    state, actions = _identity("state", keys, clock), _identity("actions", keys, clock)
    state.token("actions")
    clock.now -= 86_400
    assert actions.verify(state.token("actions")) == "state"
