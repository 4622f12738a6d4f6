"""Vault among the sources of settings: where it stands in each chain, and what is said where it has to answer and does not."""

from typing import ClassVar

import pytest
from stylobate.config import MASK, ConfigError, Settings, Sources, secret
from stylobate.testing.ports import free_ports
from stylobate.vault import VaultSettings
from stylobate.vault.manager import VaultManager


class ShopSettings(Settings):
    """A service's settings for these tests."""

    service: ClassVar[str] = "shop"

    limit: int = 3
    signing_key: str = secret()


@pytest.fixture
def sources(vault, tmp_path):
    """Give a function that returns sources with Vault among them, and a folder of mounted files."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = []

    def of(path, environ=None, **other):
        made.append(VaultManager(vault.options(path, **other)))
        return Sources(environ or {}, (folder,), tmp_path / "secrets", made[-1].secrets)

    return of


def _explained(sources, name):
    _, resolved = ShopSettings.resolve(sources)
    return next((found.value, found.origin) for found in resolved if found.name == name)


def test_a_setting_comes_from_a_file_then_vault_then_the_environment(vault, sources) -> None:
    """Each stands before the next, and says where it came from; a number of Vault's is read as it would be elsewhere."""
    vault.put("order/shop", limit=7)
    environ = {"STYLOBATE_SHOP_LIMIT": "5"}
    assert _explained(sources("none", environ), "limit") == ("5", "environment STYLOBATE_SHOP_LIMIT")
    found = sources("order", environ)
    assert _explained(found, "limit") == ("7", f"vault secret/stylobate/order/shop#limit at {vault.url}")
    (found.folders[0] / "shop_limit").write_text("9")
    assert _explained(found, "limit") == ("9", f"file {found.folders[0] / 'shop_limit'}")


def test_a_secret_comes_from_vault_before_anything_else(vault, sources) -> None:
    """Vault stands before mounted files and the environment, and what is shown is the place alone."""
    vault.put("secrets/shop", signing_key="of-vault")
    found = sources("secrets", {"STYLOBATE_SHOP_SIGNING_KEY": "of-the-environment"})
    (found.folders[0] / "shop_signing_key").write_text("of-the-file")
    assert ShopSettings.load(found).signing_key == "of-vault"
    assert _explained(found, "signing_key") == (MASK, f"vault secret/stylobate/secrets/shop#signing_key at {vault.url}")
    assert ShopSettings.load(sources("none", found.environ)).signing_key == "of-the-file"


def test_what_all_share_stands_at_shared(vault, sources) -> None:
    """A service takes a shared setting from the path `shared`, unless the same setting stands at the service's own path."""
    vault.put("all/shared", redis_url="redis://all", limit=9)
    assert ShopSettings.load(sources("all")).redis_url == "redis://all"
    assert ShopSettings.load(sources("all")).limit == 3  # nobody else's setting has a shared name
    vault.put("all/shop", redis_url="redis://shop")
    assert ShopSettings.load(sources("all")).redis_url == "redis://shop"


def test_what_is_no_text_is_refused_by_its_place(vault, sources) -> None:
    """A list is not a setting; its content, which may be secret, is not said."""
    vault.put("list/shop", signing_key=["hush"])
    with pytest.raises(ConfigError) as refused:
        ShopSettings.load(sources("list"))
    assert str(refused.value) == f"vault secret/stylobate/list/shop#signing_key at {vault.url}: must be a text, not a list"


def test_what_must_come_from_vault_comes_from_nowhere_else(vault, sources) -> None:
    """Where it is not there the start ends, whatever the environment says, with the place where it is missing."""
    environ = {"STYLOBATE_SHOP_SIGNING_KEY": "x" * 40}
    found = sources("required", environ, required=("shop_signing_key",))
    with pytest.raises(ConfigError) as refused:
        ShopSettings.load(found)
    place = f"vault secret/stylobate/required/shop#signing_key at {vault.url}"
    assert refused.value.findings == [
        f"STYLOBATE_SHOP_SIGNING_KEY: STYLOBATE_VAULT_REQUIRED wants it from {place}: there is no such value; write it there"
    ]
    vault.put("required/shop", signing_key="of-vault")
    assert ShopSettings.load(sources("required", environ, required=("shop_signing_key",))).signing_key == "of-vault"


def _refusal(sources) -> str:
    with pytest.raises(ConfigError) as refused:
        ShopSettings.load(sources)
    (finding,) = refused.value.findings
    assert "x" * 40 not in finding
    return finding


def test_a_required_value_names_what_is_wrong_with_vault(vault, sources, tmp_path) -> None:
    """Sealed, away, not letting us in, not letting us there, another authority: one line each, with the place and what to do."""
    environ = {"STYLOBATE_SHOP_SIGNING_KEY": "x" * 40}
    required = {"required": ("shop_signing_key",)}
    nobody = f"http://127.0.0.1:{free_ports(1)}"
    assert _refusal(sources("a", environ, address=nobody, **required)).endswith(
        f"secret/stylobate/a/shop#signing_key at {nobody}: {nobody} does not answer (Connection refused)"
    )
    wrong = tmp_path / "wrong"
    wrong.write_text("no-secret-id")
    assert _refusal(sources("a", environ, credentials=wrong, **required)).endswith(
        f"{vault.url}: auth/approle/login: does not let us in (invalid role or secret ID); look at STYLOBATE_VAULT_ROLE and "
        "STYLOBATE_VAULT_CREDENTIALS_FILE"
    )
    assert _refusal(sources("a", environ, mount="others", **required)).endswith(
        f"{vault.url}: others/stylobate/a/shop: permission denied; the policies of the role must allow it"
    )
    assert "does not answer (" in _refusal(sources("a", environ, address=vault.tls_url, **required))
    vault.seal()
    assert _refusal(sources("a", environ, **required)).endswith(f": {vault.url} is sealed; unseal it")


def test_tls_is_held_against_the_authority_of_the_settings(vault, sources) -> None:
    """With the authority's file the same server is read over TLS; without, it is not believed."""
    vault.put("tls/shop", limit=7)
    assert ShopSettings.load(sources("tls", address=vault.tls_url, authority=str(vault.authority))).limit == 7
    found = sources("tls", {"STYLOBATE_SHOP_SIGNING_KEY": "x" * 40}, address=vault.tls_url)
    assert ShopSettings.load(found).limit == 3
    assert "unable to get local issuer certificate" in found.store.problem


def test_no_secret_is_made_up_while_vault_cannot_be_asked(sources) -> None:
    """There may be one there: in development too the start ends, and says that Vault does not answer."""
    nobody = f"http://127.0.0.1:{free_ports(1)}"
    found = sources("away", {"STYLOBATE_SHOP_LIMIT": "5"}, address=nobody)
    with pytest.raises(ConfigError, match=r"STYLOBATE_SHOP_SIGNING_KEY: missing secret; looked at vault .*does not answer"):
        ShopSettings.load(found)
    assert not (found.generated / "shop_signing_key").exists()
    found.environ["STYLOBATE_SHOP_SIGNING_KEY"] = "of-the-environment"
    settings = ShopSettings.load(found)
    assert (settings.limit, settings.signing_key) == (5, "of-the-environment")
    del found.environ["STYLOBATE_SHOP_SIGNING_KEY"]
    found.generated.mkdir()
    (found.generated / "shop_signing_key").write_text("made up before")
    assert ShopSettings.load(found).signing_key == "made up before"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"REQUIRED": "database_url"}, "REQUIRED: needs STYLOBATE_VAULT_ADDRESS: where Vault is"),
        ({"ADDRESS": "vault:8200"}, "ADDRESS: must begin with http:// or https://"),
        ({"ADDRESS": "http://v"}, "CREDENTIALS_FILE: missing; STYLOBATE_VAULT_AUTH=approle needs a file with its secret id"),
        ({"ADDRESS": "http://v"}, "ROLE: missing; STYLOBATE_VAULT_AUTH=approle needs the role id"),
        ({"ADDRESS": "http://v", "PATH": "../x"}, "PATH: '../x' is not a path"),
        ({"ADDRESS": "http://v", "CREDENTIALS_FILE": "/no", "AUTH": "token"}, "CREDENTIALS_FILE: /no is not a file"),
    ],
)
def test_settings_about_vault_that_cannot_be_used_are_refused(environ, said) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError) as refused:
        VaultSettings.options(Sources({f"STYLOBATE_VAULT_{name}": text for name, text in environ.items()}, ()))
    assert f"STYLOBATE_VAULT_{said}" in str(refused.value)


def test_where_vault_is_never_comes_from_vault(vault, sources) -> None:
    """A setting about Vault that stands in Vault is not looked at."""
    vault.put("loop/shared", vault_path="elsewhere")
    assert VaultSettings.value("vault_path", sources("loop")) == "stylobate"
