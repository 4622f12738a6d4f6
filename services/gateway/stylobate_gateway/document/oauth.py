"""How the document tells the endpoints of OAuth: forms, and refusals as RFC 6749 has them, or problems of what stands before."""

from typing import Any

from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.schemas.oauth import OAuthError

FORM = "application/x-www-form-urlencoded"
CLIENT = "oauthClient"
"""The security scheme of a client that sends its id and secret as a header."""
_OWN = (400, 401, 403, 429, 500, 503, 504)


def takes(form: type) -> dict[str, Any]:
    """Return the `openapi_extra` of an endpoint that takes a form."""
    content = {FORM: {"schema": {"$ref": f"#/components/schemas/{form.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}, "security": [{CLIENT: []}, {}]}


def answers(found: type, detail: str) -> Responses:
    """Return the `responses` of an endpoint."""
    refused = refuses("Accounts", 401, is_public=True)
    own: Responses = {status: {**refused.get(status, {"description": "Refused"}), "model": OAuthError} for status in _OWN}
    return {200: {"model": found, "description": detail}, **refused, **own}
