"""The home page in development: what is here and where to look next."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from stylobate.api.actions.v1.action_service_pb2 import Action

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem;color:#222}"
    "code{background:#f3f3f3;padding:.1em .3em;border-radius:3px}td{padding:.2rem 1.2rem .2rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2a2a2a}a{color:#8bf}}"
)


def home_page(actions: Sequence[Action]) -> str:
    """Return the page: modules with their actions, and links."""
    parts = []
    for module, group in groupby(actions, key=lambda action: action.module):
        rows = "".join(
            f"<tr><td><code>POST {escape(action.route.partition(' ')[2] or '/v1/actions/' + action.name)}</code></td>"
            f"<td>{escape(action.summary)}</td><td><code>{escape(action.access)}</code></td>"
            f"<td>{escape(action.rate_limit)}</td></tr>"
            for action in group
        )
        parts.append(f"<h2>{escape(module)}</h2><table>{rows}</table>")
    modules = "".join(parts) or "<p>No module is loaded. <code>stylobate modules check</code> tells why.</p>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Stylobate</title><style>{_STYLE}</style>"
        "<h1>Stylobate</h1><p>The platform is running. <a href=/docs>Try the API</a> · <a href=/openapi.json>OpenAPI</a> · "
        "<a href=/v1/modules>Modules</a> · <a href=/.well-known/jwks.json>Keys</a></p>"
        f"{modules}<p>A journey through all of it: <code>stylobate demo</code></p></html>"
    )
