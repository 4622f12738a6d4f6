"""Which credentials each operation takes, as the document tells them."""

from typing import Any

from stylobate_gateway.document.oauth import CLIENT

_BEARER = "The `access_token` that `POST /v1/auth/login` answers with. Trying that out on `/docs` fills it in."
_API_KEY = "An API key of `POST /v1/api-keys`; as bearer token it is taken too."
_COOKIE = "The session of a browser, after a login with `X-Session-Mode: cookie`; browsers send it by themselves."
_CSRF = "The `csrf_token` of that login, which stands in a cookie too: with every change by a session in cookies."
_OAUTH = "Tokens for programs; scopes are permissions, as far as the client's key covers them."
_CLIENT = "The id of a service account and one of its API keys (`client_secret_basic`)."
_Way = dict[str, list[str]]
_TOKEN: _Way = {"bearer": []}
_KEYS: list[_Way] = [{"apiKey": []}, {"oauth2": []}]
_CHANGES = frozenset({"post", "put", "patch", "delete"})


def secure(document: dict[str, Any], cookie: str) -> None:
    """Say which credentials are taken. What is a person's to manage takes a token: a key is not enough.

    :param cookie: the name of the one that holds the access token of a session of a browser; empty: there are none.
    """
    document["components"]["securitySchemes"] = _schemes(cookie)
    read: list[_Way] = [{"cookie": []}] if cookie else []
    change: list[_Way] = [{"cookie": [], "csrf": []}] if cookie else []
    document["security"] = [_TOKEN, *_KEYS, *read]
    for item in document["paths"].values():
        for method, operation in item.items():
            said = operation.get("security")
            if said is None or _TOKEN in said:
                keys = [] if "accounts" in operation["tags"] else _KEYS
                ways = [_TOKEN, *keys, *(change if method in _CHANGES else read)]
                ways += [{}] if said is not None and {} in said else []
                if ways != document["security"]:
                    operation["security"] = ways


def _schemes(cookie: str) -> dict[str, Any]:
    flow = {"tokenUrl": "/oauth2/token", "scopes": {}}
    schemes: dict[str, Any] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": _BEARER},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": _API_KEY},
        "oauth2": {"type": "oauth2", "flows": {"clientCredentials": flow}, "description": _OAUTH},
        CLIENT: {"type": "http", "scheme": "basic", "description": _CLIENT},
    }
    if cookie:
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie, "description": _COOKIE}
        schemes["csrf"] = {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": _CSRF}
    return schemes
