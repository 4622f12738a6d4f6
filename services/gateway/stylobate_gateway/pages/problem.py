"""The pages that the types of problems point to."""

import re
from collections.abc import Iterable
from html import escape

from fastapi.responses import HTMLResponse
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.errors import title_of

from stylobate_gateway.pages.page import plain_page
from stylobate_gateway.reasons import known_reasons

_NAME = re.compile(r"[a-z][a-z0-9-]*")


def problem_page(name: str, actions: Iterable[Action]) -> HTMLResponse | None:
    """Return the page by the last segment of the problem's type; None for what no part of the platform answers with.

    :param actions: whose modules have reasons of their own.
    """
    if not _NAME.fullmatch(name):
        return None
    reason = name.upper().replace("-", "_")
    known = known_reasons().get(reason)
    if known is not None:
        return _page(reason, known.meaning, known.cure)
    for action in actions:
        for refusal in action.refusals:
            if refusal.reason == reason:
                return _page(reason, refusal.detail, f"A rule of the module {action.module}; the problem's detail says more.")
    return None


def _page(reason: str, meaning: str, cure: str) -> HTMLResponse:
    title = escape(title_of(reason))
    texts = "".join(f"<p>{escape(text)}</p>" for text in (meaning, cure) if text)
    return plain_page(title, f"<h1>{title}</h1><p><code>{escape(reason)}</code></p>{texts}")
