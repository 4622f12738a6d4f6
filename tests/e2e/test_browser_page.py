"""The program of the how-to, word for word, in a real browser."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stylobate.testing.platform import Platform

from tests.browser import program
from tests.conftest import SHOP
from tests.people import PASSWORD, Person

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "build-a-browser-application.md"
ORDER = 'call("POST", "/orders", { items: [{ sku: "tea", quantity: 1 }] })'

NO_TOKEN = """
fetch("/orders", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).then((answer) => answer.json())
""".strip()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_page_logs_in_with_cookies(tmp_path: Path) -> None:
    """It reads none of its tokens, orders across an expiry with twenty requests at once, and logs out."""
    found = re.search(r"```js\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "page").mkdir()
    with Platform.run(tmp_path / "project", modules=[SHOP]) as platform, Person(platform.gateway) as ada:
        ada.register()
        account = json.dumps({"email": ada.email, "password": PASSWORD})
        command = [*program(tmp_path / "page", "session.mjs"), platform.gateway, found[1], str(tmp_path / "profile"), account]
        with subprocess.Popen(command, cwd=tmp_path / "page", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as page:

            def said(line: str) -> Any:
                assert page.stdin is not None
                assert page.stdout is not None
                page.stdin.write(line + "\n")
                page.stdin.flush()
                answer = page.stdout.readline()
                assert answer, f"the page said nothing to {line}"
                return json.loads(answer)

            assert said(ORDER)["status"] == 401
            answer = said("login(account.email, account.password)")
            assert (answer["status"], answer["body"]["user"]["email"]) == (200, ada.email)
            assert said("!cookies") == [
                ["stylobate_access", True, "Lax"],
                ["stylobate_csrf", False, "Lax"],
                ["stylobate_refresh", True, "Lax"],
            ]
            assert re.findall(r"(\w+)=", said("document.cookie")) == ["stylobate_csrf"]
            assert said(ORDER)["status"] == 200
            assert said("!expire")
            assert said(
                f"Promise.all(Array.from({{ length: 20 }}, () => {ORDER})).then((all) => all.map((one) => one.status))"
            ) == ([200] * 20)
            assert said('call("GET", "/v1/auth/me")')["body"]["email"] == ada.email
            assert said(NO_TOKEN)["code"] == "CSRF_REFUSED"
            assert said("logout()")["status"] == 204
            assert said("!cookies") == []
            assert said(ORDER)["status"] == 401
