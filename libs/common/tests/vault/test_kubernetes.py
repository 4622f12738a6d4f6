"""Logins with the token of a Kubernetes service account: against OpenBao itself, and a double of the API that it asks.

No cluster can be had here. The double answers TokenReview (authentication.k8s.io/v1) alone, and knows one token.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from stylobate.testing.ports import HOST
from stylobate.vault import VaultError
from stylobate.vault.client import VaultClient

_NAME = "system:serviceaccount:shop:stylobate"


def _token() -> str:
    account = {"namespace": "shop", "serviceaccount": {"name": "stylobate", "uid": "u1"}}
    now = datetime.now(UTC)
    claims = {"iss": "kubernetes", "sub": _NAME, "iat": now, "exp": now + timedelta(hours=1), "kubernetes.io": account}
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


@pytest.fixture
def known() -> str:
    """Return the token of the service account."""
    return _token()


@pytest.fixture
def reviews(known) -> Iterator[str]:
    """Give the address of the double."""

    class Double(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status: dict[str, Any] = {"authenticated": asked["spec"]["token"] == known}
            if status["authenticated"]:
                status["user"] = {"username": _NAME, "uid": "u1"}
            answer = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
            body = json.dumps(answer).encode()
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  as its base calls it
            del format

    with ThreadingHTTPServer((HOST, 0), Double) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_service_account_logs_in(vault, reviews, known, tmp_path) -> None:
    """With its token, read from the file at each login; another one is refused, with what to look at."""
    vault.put("kubernetes/auth", smtp_password="there")
    with vault.root() as root:
        root.sys.enable_auth_method("kubernetes")
        config = {"kubernetes_host": reviews, "token_reviewer_jwt": known, "disable_local_ca_jwt": True}
        root.write_data("auth/kubernetes/config", data=config | {"kubernetes_ca_cert": vault.authority.read_text()})
        role = {"bound_service_account_names": ["stylobate"], "bound_service_account_namespaces": ["shop"]}
        root.write_data("auth/kubernetes/role/stylobate", data=role | {"token_policies": ["stylobate"], "token_ttl": "1h"})
    file = tmp_path / "token"
    options = vault.options("kubernetes", auth="kubernetes", auth_mount="kubernetes", credentials=file)
    file.write_text(_token())
    client = VaultClient(options)
    with pytest.raises(VaultError, match="auth/kubernetes/login: does not let us in"):
        client.secret("auth")
    file.write_text(known)
    assert client.secret("auth") == {"smtp_password": "there"}
