"""Pages for people: the home page in development, what a problem means, and the API to try."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from fastapi.responses import HTMLResponse
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.errors import title_of

from stylobate_gateway.catalogue import Rule
from stylobate_gateway.reasons import known_reasons

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {"referrer-policy": "no-referrer"}
"""Of every page, beside a policy of what it may load. Nobody may put one into a frame."""
SCRIPT = {"cache-control": "no-cache", **HEADERS}
"""Of a script that a page loads."""
_PLAIN = f"{_NOTHING}; style-src 'unsafe-inline'"
_DOCS = f"{_NOTHING}; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
_FORM = f"{_PLAIN}; script-src 'self'; connect-src 'self'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem;color:#222}"
    "code{background:#f3f3f3;padding:.1em .3em;border-radius:3px}td{padding:.2rem 1.2rem .2rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2a2a2a}a{color:#8bf}}"
)
_ORDER = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DEMONSTRATED = "shop"
"""The module that ``stylobate demo`` needs."""
_PROBLEM = re.compile(r"[a-z][a-z0-9-]*")


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
    return _plain_page(
        "Stylobate",
        "<h1>Stylobate</h1><p>The platform is running. <a href=/docs>Try the API</a> · <a href=/openapi.json>OpenAPI</a> · "
        f"<a href=/v1/actions>Actions</a> · <a href=/.well-known/jwks.json>Keys</a></p>{modules}"
        + ("<p>A journey through all of it: <code>stylobate demo</code></p>" if is_demonstrable else ""),
    )


def problem_page(name: str, rules: Mapping[str, Rule]) -> HTMLResponse | None:
    """Return the page by the last segment of the problem's type; None for what no part of the platform answers with.

    :param rules: of modules, by their reasons.
    """
    if not _PROBLEM.fullmatch(name):
        return None
    reason = name.upper().replace("-", "_")
    known = known_reasons().get(reason)
    if known is not None:
        return _problem(reason, known.meaning, known.cure)
    rule = rules.get(reason)
    if rule is not None:
        return _problem(reason, rule.detail, f"A rule of the module {rule.module}; the problem's detail says more.")
    return None


def docs_page(assets: str) -> HTMLResponse:
    """Return the page of the API; its scripts and styles come from us, below the path ``assets``."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Stylobate API</title>'
        f'<link rel="icon" href="{assets}/favicon.png"><link rel="stylesheet" href="{assets}/swagger-ui.css">'
        f'<div id="swagger-ui"></div><script src="{assets}/swagger-ui-bundle.js"></script>'
        '<script src="/docs/start.js"></script></html>'
    )
    return HTMLResponse(page, headers=HEADERS | {"content-security-policy": _DOCS})


def first_admin_page(script: str) -> HTMLResponse:
    """Return the form of who becomes the first administrator. The token stands behind the `#`, which no server is told.

    :param script: its path; it sends the form.
    """
    fields = "".join(
        f'<p><label>{label}<br><input name={name} type={kind} autocomplete="{known}" size=40{more}></label></p>'
        for label, name, kind, known, more in (
            ("Email address", "email", "email", "username", " required autofocus"),
            ("Password, at least 8 characters", "password", "password", "new-password", " required minlength=8"),
            ("Name that others may see", "display_name", "text", "name", ""),
        )
    )
    content = f"<h1>The first administrator</h1><form>{fields}<p><button>Make the account</button></p></form><p role=status></p>"
    page = _head("The first administrator") + f'{content}<script src="{script}"></script></html>'
    return HTMLResponse(page, headers=HEADERS | {"content-security-policy": _FORM})


def _head(title: str) -> str:
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"


def _plain_page(title: str, content: str) -> HTMLResponse:
    """Return a page without scripts. ``title`` and ``content`` are HTML: whoever makes them escapes."""
    return HTMLResponse(f"{_head(title)}{content}</html>", headers=HEADERS | {"content-security-policy": _PLAIN})


def _problem(reason: str, meaning: str, cure: str) -> HTMLResponse:
    title = escape(title_of(reason))
    texts = "".join(f"<p>{escape(text)}</p>" for text in (meaning, cure) if text)
    return _plain_page(title, f"<h1>{title}</h1><p><code>{escape(reason)}</code></p>{texts}")


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
