"""OAuth 2.0 as programs speak it: Authlib, openid-client and jose, and what is refused."""

import base64
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7523.assertion import sign_jwt_bearer_assertion
from authlib.oauth2.rfc7523.client import ASSERTION_TYPE
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc.jwk import OKPKey
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import wait_until

from tests.oauth import run_client
from tests.people import Person

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def client(platform):
    """Give the id and the secret of a client that may read orders."""
    account = platform.command("keys", "add-account", "robot", "--role", "admin").stdout.strip()
    key = platform.command("keys", "create", account, "ci", "--scope", "orders:read", "--scope", "authenticated").stdout.strip()
    return account, key


@pytest.fixture(scope="module")
def key_pair(platform, client, tmp_path_factory):
    """Give the private half of a key that the client registered from a file, as `openssl` writes it."""
    key = Ed25519PrivateKey.generate()
    path = tmp_path_factory.mktemp("keys") / "public.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    scopes = ("--scope", "orders:read", "--scope", "authenticated")
    made = platform.command("keys", "create", client[0], "signs", *scopes, "--public-key", str(path)).stdout.strip()
    listed = platform.command("keys", "list", client[0]).stdout
    assert next(line for line in listed.splitlines() if line.startswith(made)).count("public key ") == 1
    return key


def _pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _post(platform, path, form, **how):
    return httpx.post(f"{platform.gateway}/oauth2/{path}", data=form, verify=NO_TLS, timeout=60, **how)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_a_token_and_works_with_it(platform, client, method):
    """The token does what the key may and no more, and ends with the key's rights."""
    found = httpx.get(f"{platform.gateway}/.well-known/oauth-authorization-server", verify=NO_TLS)
    assert found.headers["cache-control"] == "public, max-age=300"
    endpoints = found.json()
    assert endpoints["issuer"] == platform.gateway
    same = httpx.get(f"{platform.gateway}/.well-known/openid-configuration", verify=NO_TLS)
    assert same.json() == endpoints
    with OAuth2Session(*client, token_endpoint_auth_method=method) as session:
        token = session.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials")
        assert token["scope"] == "authenticated orders:read"
        assert session.get(f"{platform.gateway}/v1/state/orders").status_code == 200
        assert session.get(f"{platform.gateway}/v1/audit").status_code == 403
        assert session.get(f"{platform.gateway}/v1/auth/me").json()["code"] == "API_KEY_NOT_ENOUGH"
        facts = session.introspect_token(endpoints["introspection_endpoint"], token["access_token"]).json()
        assert (facts["active"], facts["client_id"], facts["scope"]) == (True, client[0], token["scope"])
        assert session.revoke_token(endpoints["revocation_endpoint"], token["access_token"]).status_code == 200
        assert wait_until(lambda: session.get(f"{platform.gateway}/v1/state/orders").status_code == 401, timedelta(seconds=60))
        facts = session.introspect_token(endpoints["introspection_endpoint"], token["access_token"])
        assert facts.json() == {"active": False}
        with pytest.raises(OAuthError, match="invalid_scope"):
            session.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials", scope="orders:ship")


def test_authlib_proves_itself_by_what_it_signs(platform, client, key_pair):
    """`private_key_jwt` at all three endpoints; what was used once is refused, and what is signed for somebody else."""
    endpoints = httpx.get(f"{platform.gateway}/.well-known/oauth-authorization-server", verify=NO_TLS).json()
    assert "private_key_jwt" in endpoints["token_endpoint_auth_methods_supported"]
    assert "EdDSA" in endpoints["token_endpoint_auth_signing_alg_values_supported"]
    private = OKPKey.import_key(_pem(key_pair))
    method = PrivateKeyJWT(endpoints["token_endpoint"], alg="Ed25519")
    methods = {"token_endpoint_auth_method": method, "revocation_endpoint_auth_method": method}
    with OAuth2Session(client[0], private, **methods) as session:
        token = session.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials", scope="orders:read")
        assert token["scope"] == "orders:read"
        assert session.get(f"{platform.gateway}/v1/state/orders").status_code == 200
        facts = session.introspect_token(endpoints["introspection_endpoint"], token["access_token"]).json()
        assert (facts["active"], facts["client_id"]) == (True, client[0])
        assert session.revoke_token(endpoints["revocation_endpoint"], token["access_token"]).status_code == 200
    grant = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
    for audience, statuses in ((platform.gateway, (200, 401)), ("https://other.example", (401, 401))):
        assertion = sign_jwt_bearer_assertion(private, client[0], audience, client[0], header={"alg": "Ed25519"})
        for status in statuses:
            answer = _post(platform, "token", {**grant, "client_assertion": assertion})
            assert answer.status_code == status, answer.text
    for more, how in (({"client_secret": client[1]}, {}), ({}, {"auth": client})):
        assert _post(platform, "token", {**grant, "client_assertion": "x", **more}, **how).json()["error"] == "invalid_request"


def test_the_libraries_of_node_speak_it(platform, client, key_pair, tmp_path: Path):
    """openid-client by discovery, jose with the key set; a session's refresh token is exchanged and ended."""
    with Person(platform.gateway) as person:
        person.register()
        ran = run_client(tmp_path, platform.gateway, *client, person.refresh_token, _pem(key_pair))
        assert ran.stdout == "ok\n", ran.stderr


def test_a_key_that_ends_takes_its_tokens_along(platform, client):
    """A token that was issued for a key is refused within a second of the key's end."""
    key = platform.command("keys", "create", client[0], "short", "--scope", "orders:read").stdout.strip()
    token = _post(platform, "token", {"grant_type": "client_credentials"}, auth=(client[0], key)).json()["access_token"]
    with httpx.Client(headers={"authorization": f"Bearer {token}"}, verify=NO_TLS, timeout=60) as http:
        orders = f"{platform.gateway}/v1/state/orders"
        assert http.get(orders).status_code == 200
        listed = platform.command("keys", "list", client[0]).stdout.splitlines()
        platform.command("keys", "revoke", next(line.split()[0] for line in listed if line.split()[1] == "short"))
        assert wait_until(lambda: http.get(orders).status_code == 401, timedelta(seconds=60))


def _basic(id, secret):  # noqa: A002  OAuth's word
    return {"authorization": "Basic " + base64.b64encode(f"{id}:{secret}".encode()).decode()}


def test_refusals_have_the_shape_of_the_standard(platform, client):
    """RFC 6749 §5.2: an error and its description, never cached, and nothing of what was sent."""
    account, key = client
    grant = {"grant_type": "client_credentials"}
    with Person(platform.gateway) as person:
        person.register()
        refresh = {"grant_type": "refresh_token", "refresh_token": person.refresh_token}
        mine = {"client_id": account, "client_secret": key}
        cases = [
            ({**grant, **mine, "grant_type": "password"}, {}, 400, "unsupported_grant_type"),
            (mine, {}, 400, "invalid_request"),
            ({**grant, **mine, "scope": "orders:read *"}, {}, 400, "invalid_scope"),
            (grant, {}, 401, "invalid_client"),
            (grant, {"authorization": "Basic !"}, 401, "invalid_client"),
            (grant, {"authorization": f"Bearer {person.token}"}, 401, "invalid_client"),
            (grant, _basic(person.id, key), 401, "invalid_client"),
            ({**grant, **mine}, _basic(account, key), 400, "invalid_request"),
            ({**grant, "client_id": "another"}, _basic(account, key), 400, "invalid_request"),
            ({**refresh, **mine}, {}, 400, "invalid_grant"),
            ({**refresh, "refresh_token": "x"}, {}, 400, "invalid_grant"),
            ({"grant_type": "refresh_token"}, {}, 400, "invalid_request"),
            ({**refresh, "scope": "*"}, {}, 400, "invalid_scope"),
            (b"grant_type=refresh_token&grant_type=client_credentials", FORM, 400, "invalid_request"),
            (b"grant_type=%ff", FORM, 400, "invalid_request"),
            (b'{"grant_type": "client_credentials"}', {"content-type": "application/json"}, 400, "invalid_request"),
            ({**grant, "client_assertion": "x", "client_id": account}, {}, 401, "invalid_client"),
        ]
        for form, headers, status, code in cases:
            how = {"content": form} if isinstance(form, bytes) else {"data": form}
            answer = httpx.post(f"{platform.gateway}/oauth2/token", headers=headers, verify=NO_TLS, timeout=60, **how)
            assert (answer.status_code, answer.json()["error"]) == (status, code), (form, answer.text)
            assert answer.json().keys() == {"error", "error_description"}
            assert answer.headers["cache-control"] == "no-store"
            assert (status == 401) == ("www-authenticate" in answer.headers)
            assert key not in answer.text
            assert person.refresh_token not in answer.text


def test_a_client_learns_of_its_own_tokens_only(platform, client):
    """Another's token is not active for it, and it cannot end one; nor can a stranger end a client's."""
    with Person(platform.gateway) as person:
        person.register()
        asked = _post(platform, "introspect", {"token": person.token}, auth=client)
        assert asked.json() == {"active": False}
        assert _post(platform, "introspect", {"token": person.token}).status_code == 401
        assert _post(platform, "revoke", {"token": person.token}, auth=client).status_code == 200
        token = _post(platform, "token", {"grant_type": "client_credentials"}, auth=client).json()["access_token"]
        assert _post(platform, "revoke", {"token": token}).status_code == 200
        assert _post(platform, "introspect", {"token": token}, auth=client).json()["active"] is True
        assert person.http.get("/v1/auth/me").status_code == 200
        assert _post(platform, "revoke", {"token": person.token}).status_code == 200
        assert wait_until(lambda: person.http.get("/v1/auth/me").status_code == 401, timedelta(seconds=60))
