"""Pages for people: what they show, what they may load, and who may see them."""

import re

import pytest
from stylobate_gateway.reasons import known_reasons

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada"}
SHOP = """
actions:
  shop.look: { handler: look, route: GET /look, access: public }
"""
LOOK = """
from stylobate.modules import ActionContext, BaseModule

class Shop(BaseModule):
    async def look(self, ctx: ActionContext) -> str:
        return "looked"
"""


async def test_every_reason_has_a_page(gateway) -> None:
    """Those of every service and of the listener, wherever they are raised, and those that a module spells out."""
    for reason in (*known_reasons(), "NOTE_LOUD", "NOTE_LOST", "RATE_LIMITED", "MALFORMED_REQUEST"):
        page = await gateway.http.get(f"/problems/{reason.lower().replace('_', '-')}")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8"), reason
        assert f"<code>{reason}</code>" in page.text
    assert "Say it &lt;more&gt; quietly." in (await gateway.http.get("/problems/note-loud")).text


async def test_a_module_without_actions_has_pages_too(gateway, is_problem) -> None:
    """What its before-hook refuses leads to a page, and stands in the document."""
    answer = await gateway.http.put("/v1/state/papers/one", json={"data": {}}, headers=ADA)
    assert answer.status_code == 409
    page = await gateway.http.get(answer.json()["type"])
    assert (page.status_code, "A paper needs a &lt;stamp&gt;." in page.text, "the module policy" in page.text) == (
        200,
        True,
        True,
    )
    assert "PAPER_UNSTAMPED" in (await gateway.http.get("/openapi.json")).text


@pytest.mark.parametrize("name", ["anything", "ROUTE-NOT-FOUND", "route_not_found", "%3Cscript%3E", "-", "a" * 3000])
async def test_what_nobody_answers_with_has_none(gateway, is_problem, name) -> None:
    """Neither has another spelling of what somebody does."""
    is_problem(await gateway.http.get(f"/problems/{name}"), 404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/start.js", "/problems/internal", "/static-offline-docs/swagger-ui.css"])
async def test_pages_cannot_be_framed_nor_taken_for_something_else(gateway, path) -> None:
    """They load from here and send nothing away; scripts and styles are taken for what they are."""
    answer = await gateway.http.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.headers["content-type"].startswith("text/html"):
        policy = answer.headers["content-security-policy"]
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))
        assert "script-src" not in policy or re.search("script-src 'self'(;|$)", policy)
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon[a-z]+=", answer.text)


async def test_the_home_page_shows_each_action_where_it_is(gateway) -> None:
    """With its own method, what a browser can open first, text as text, and no journey that nobody can make."""
    page = (await gateway.http.get("/")).text
    assert "Say it again &lt;b&gt;loudly&lt;/b&gt;" in page
    assert "<b>loudly" not in page
    for place in ("GET /count", "POST /echo", "GET /slots/{slot_id}", "DELETE /slots/{slot_id}", "POST /v1/actions/notes.whoami"):
        assert f"<code>{place}</code>" in page
    assert page.index("GET /slots/next") < page.index("POST /slots/{slot_id}/bookings") < page.index("DELETE /slots/{slot_id}")
    assert "stylobate demo" not in page


async def test_links_of_the_home_page_work_in_a_browser(gateway) -> None:
    """Without a token and without a body."""
    links = re.findall(r'href="?([^">\s]+)', (await gateway.http.get("/")).text)
    assert {"/docs", "/openapi.json", "/count", "/slots/next"} <= set(links)
    for link in set(links) - {"/.well-known/jwks.json"}:  # auth, whose keys these are, does not run here
        assert (await gateway.http.get(link)).status_code == 200, link


async def test_the_journey_is_offered_where_the_shop_is(run_gateway, tmp_path) -> None:
    """It orders from the shop."""
    (tmp_path / "shop").mkdir()
    for name, text in {"module.yaml": "name: shop\n", "actions.yaml": SHOP, "module.py": LOOK}.items():
        (tmp_path / "shop" / name).write_text(text)
    async with run_gateway(modules=tmp_path) as gateway:
        assert "stylobate demo" in (await gateway.http.get("/")).text


async def test_what_there_is_to_call_can_be_kept_from_strangers(run_gateway, is_problem) -> None:
    """Then the document and the catalogue need a token; pages of problems and the actions themselves do not."""
    async with run_gateway(open_catalogue=False) as gateway:
        for path in ("/openapi.json", "/v1/actions", "/v1/actions/notes.echo"):
            is_problem(await gateway.http.get(path), 401, "UNAUTHENTICATED")
            assert (await gateway.http.get(path, headers=ADA)).status_code == 200
        for path in ("/docs", "/docs/start.js", "/static-offline-docs/swagger-ui.css"):
            assert (await gateway.http.get(path)).status_code == 404
        assert (await gateway.http.get("/problems/internal")).status_code == 200
        assert (await gateway.http.get("/count")).status_code == 200
        document = (await gateway.http.get("/openapi.json", headers=ADA)).json()
        assert "security" not in document["paths"]["/v1/actions"]["get"]
