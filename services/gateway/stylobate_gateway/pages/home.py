"""The home page in development: what is here and where to look next."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from fastapi.responses import HTMLResponse
from stylobate.api.actions.v1.action_service_pb2 import Action

from stylobate_gateway.pages.page import plain_page

_ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DEMONSTRATED = "shop"
"""The module that ``stylobate demo`` needs."""


def home_page(actions: Sequence[Action]) -> HTMLResponse:
    """Return the page: modules with their actions, and links that a browser can follow."""
    parts = []
    for module, group in groupby(actions, key=lambda action: action.module):
        rows = "".join(
            _row(*place, action) for place, action in sorted(((_place(action), action) for action in group), key=_rank)
        )
        parts.append(f"<h2>{escape(module)}</h2><table>{rows}</table>")
    modules = "".join(parts) or "<p>No module is loaded. <code>stylobate modules check</code> tells why.</p>"
    is_demonstrable = any(action.module == _DEMONSTRATED for action in actions)
    return plain_page(
        "Stylobate",
        "<h1>Stylobate</h1><p>The platform is running. <a href=/docs>Try the API</a> · <a href=/openapi.json>OpenAPI</a> · "
        f"<a href=/v1/actions>Actions</a> · <a href=/.well-known/jwks.json>Keys</a></p>{modules}"
        + ("<p>A journey through all of it: <code>stylobate demo</code></p>" if is_demonstrable else ""),
    )


def _place(action: Action) -> tuple[str, str]:
    """Return the method and path to call the action at."""
    method, _, path = (action.route or f"POST /v1/actions/{action.name}").partition(" ")
    return method, path


def _rank(found: tuple[tuple[str, str], Action]) -> tuple[int, str]:
    """Return what rows are sorted by: what a browser can open comes first."""
    (method, path), _ = found
    return _ORDER.index(method) if method in _ORDER else len(_ORDER), path


def _row(method: str, path: str, action: Action) -> str:
    shown = f"<code>{escape(method)} {escape(path)}</code>"
    if method == "GET" and action.access == "public" and not action.input_schema:
        shown = f'<a href="{escape(path)}">{shown}</a>'
    return (
        f"<tr><td>{shown}</td><td>{escape(action.summary)}</td><td><code>{escape(action.access)}</code></td>"
        f"<td>{escape(action.rate_limit)}</td></tr>"
    )
