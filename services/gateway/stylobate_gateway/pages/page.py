"""What every page has: a policy of what it may load, and that nobody may put it into a frame."""

from fastapi.responses import HTMLResponse

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_PLAIN = f"{_NOTHING}; style-src 'unsafe-inline'"
_DOCS = f"{_NOTHING}; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem;color:#222}"
    "code{background:#f3f3f3;padding:.1em .3em;border-radius:3px}td{padding:.2rem 1.2rem .2rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2a2a2a}a{color:#8bf}}"
)


def plain_page(title: str, content: str) -> HTMLResponse:
    """Return a page without scripts. ``title`` and ``content`` are HTML: whoever makes them escapes."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return HTMLResponse(f"{head}{content}</html>", headers=HEADERS | {"content-security-policy": _PLAIN})


def docs_page(assets: str) -> HTMLResponse:
    """Return the page of the API; its scripts and styles come from us, below the path ``assets``."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Stylobate API</title>'
        f'<link rel="icon" href="{assets}/favicon.png"><link rel="stylesheet" href="{assets}/swagger-ui.css">'
        f'<div id="swagger-ui"></div><script src="{assets}/swagger-ui-bundle.js"></script>'
        '<script src="/docs/start.js"></script></html>'
    )
    return HTMLResponse(page, headers=HEADERS | {"content-security-policy": _DOCS})
