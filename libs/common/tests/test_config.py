"""Settings: the order of their sources, what is reported, and how secrets are treated."""

import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from stylobate.config import MASK, ConfigError, Environment, Settings, Sources, secret


class ShopSettings(Settings):
    """A service's settings for these tests."""

    service: ClassVar[str] = "shop"

    limit: int = 3
    names: tuple[str, ...] = ()
    stores: Mapping[str, str] = {}
    patience: timedelta = timedelta(seconds=5)
    signing_key: str = secret()
    mail_password: str = secret(generate=False)


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """Return the folder for generated secrets; it does not exist yet."""
    return tmp_path / "secrets"


def _origin(sources: Sources, name: str) -> tuple[str, str]:
    _, resolved = ShopSettings.resolve(sources)
    return next((found.value, found.origin) for found in resolved if found.name == name)


def test_file_wins_over_environment_and_environment_over_default(tmp_path: Path, generated: Path) -> None:
    """A mounted file stands before the environment, the environment before the default; each says where it came from."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    sources = Sources({}, (folder,), generated)
    assert _origin(sources, "limit") == ("3", "default")
    sources = Sources({"STYLOBATE_SHOP_LIMIT": "5"}, (folder,), generated)
    assert _origin(sources, "limit") == ("5", "environment STYLOBATE_SHOP_LIMIT")
    (folder / "shop_limit").write_text("7\n")
    assert _origin(sources, "limit") == ("7", f"file {folder / 'shop_limit'}")


def test_a_services_own_value_wins_over_the_shared_one(generated: Path) -> None:
    """STYLOBATE_SHOP_REDIS_URL holds for the shop, STYLOBATE_REDIS_URL for all others."""
    environ = {"STYLOBATE_REDIS_URL": "redis://all", "STYLOBATE_SHOP_REDIS_URL": "redis://shop"}
    assert ShopSettings.load(Sources(environ, (), generated)).redis_url == "redis://shop"
    del environ["STYLOBATE_SHOP_REDIS_URL"]
    assert ShopSettings.load(Sources(environ, (), generated)).redis_url == "redis://all"


def test_a_setting_of_one_service_has_no_shared_name(generated: Path) -> None:
    """STYLOBATE_LIMIT is nobody's setting and changes nothing."""
    assert ShopSettings.load(Sources({"STYLOBATE_LIMIT": "9"}, (), generated)).limit == 3


@pytest.mark.parametrize(("text", "expected"), [("500ms", 0.5), ("10s", 10), ("15m", 900), ("2h", 7200), ("30d", 2_592_000)])
def test_durations_are_written_with_a_unit(text: str, expected: float, generated: Path) -> None:
    """Every unit is read."""
    settings = ShopSettings.load(Sources({"STYLOBATE_SHOP_PATIENCE": text}, (), generated))
    assert settings.patience.total_seconds() == expected


def test_lists_are_written_with_commas(generated: Path) -> None:
    """Blanks around items do not count."""
    assert ShopSettings.load(Sources({"STYLOBATE_SHOP_NAMES": "a, b,c"}, (), generated)).names == ("a", "b", "c")


def test_mappings_are_pairs_with_white_space_between(generated: Path) -> None:
    """Lines of a mounted file too; what is not a pair, or comes twice, is refused by its place; passwords are not shown."""
    sources = Sources({"STYLOBATE_SHOP_STORES": "one=postgresql://ada:secret@h/d\n two=x=y "}, (), generated)
    assert ShopSettings.load(sources).stores == {"one": "postgresql://ada:secret@h/d", "two": "x=y"}
    assert _origin(sources, "stores")[0] == f"one=postgresql://ada:{MASK}@h/d two=x=y"
    for text, said in (("one=1 secret", "entry 2 is not written name=value"), ("one=1 one=2", "one comes twice")):
        with pytest.raises(ConfigError, match=f"^STYLOBATE_SHOP_STORES: {said}$"):
            ShopSettings.load(Sources({"STYLOBATE_SHOP_STORES": text}, (), generated))


def test_every_finding_is_told_at_once(generated: Path) -> None:
    """Two bad values make one error with two findings, each with the variable that set it."""
    environ = {"STYLOBATE_SHOP_LIMIT": "many", "STYLOBATE_SHOP_PATIENCE": "soon"}
    with pytest.raises(ConfigError) as caught:
        ShopSettings.load(Sources(environ, (), generated))
    assert len(caught.value.findings) == 2
    assert "STYLOBATE_SHOP_LIMIT" in str(caught.value)
    assert "STYLOBATE_SHOP_PATIENCE" in str(caught.value)


def test_a_missing_secret_is_generated_once_in_development(generated: Path) -> None:
    """The same value holds after a restart, in a file that only its owner can read."""
    first = ShopSettings.load(Sources({}, (), generated)).signing_key
    assert len(first) > 32
    assert ShopSettings.load(Sources({}, (), generated)).signing_key == first
    assert stat.S_IMODE((generated / "shop_signing_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(generated.stat().st_mode) == 0o700


@pytest.mark.parametrize("environment", [Environment.STAGING, Environment.PRODUCTION])
def test_a_missing_secret_stops_the_start_elsewhere(environment: Environment, generated: Path) -> None:
    """Nothing is made up, and the finding names every place that was looked at."""
    sources = Sources({"STYLOBATE_ENVIRONMENT": environment}, (Path("/mounted"),), generated)
    with pytest.raises(ConfigError, match="STYLOBATE_SHOP_SIGNING_KEY: missing secret; looked at /mounted/shop_signing_key"):
        ShopSettings.load(sources)
    assert not generated.exists()


def test_a_file_that_is_no_text_is_named(tmp_path: Path, generated: Path) -> None:
    """As a key of random octets is not: a mounted file, and the one that was generated."""
    (folder := tmp_path / "mounted").mkdir()
    for path, folders in ((folder / "shop_mail_password", (folder,)), (generated / "shop_signing_key", ())):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\xff" * 64)
        with pytest.raises(ConfigError, match=f"{path}: is not UTF-8 text") as refused:
            ShopSettings.load(Sources({}, folders, generated))
        assert "xff" not in str(refused.value)


def test_secrets_are_masked_wherever_they_are_shown(generated: Path) -> None:
    """Neither the explanation nor the representation holds a secret or a password in an address."""
    environ = {"STYLOBATE_SHOP_SIGNING_KEY": "hush", "STYLOBATE_DATABASE_URL": "postgresql://me:hush@host/db"}
    settings, resolved = ShopSettings.resolve(Sources(environ, (), generated))
    assert settings.signing_key == "hush"
    shown = {found.name: found.value for found in resolved}
    assert shown["signing_key"] == MASK
    assert shown["database_url"] == f"postgresql://me:{MASK}@host/db"
    assert "hush" not in str(resolved)


def test_one_value_resolves_without_the_secrets() -> None:
    """A command that needs only an address does not ask for the signing key."""
    sources = Sources({"STYLOBATE_ENVIRONMENT": "production", "STYLOBATE_SHOP_DATABASE_URL": "postgresql://x"}, ())
    assert ShopSettings.value("database_url", sources) == "postgresql://x"
