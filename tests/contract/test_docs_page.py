"""The page of the API in a real browser: it draws, authorizes, and tries out actions as a person would."""

import json
import subprocess

import pytest

from tests.browser import program


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_actions_are_tried_out_from_the_page(platform, tokens, tmp_path):
    """With a token, by query and by path, without a script error; an operation is no longer than a person scrolls."""
    command = [*program(tmp_path, "docs.mjs"), platform.gateway, tokens["user"], str(tmp_path / "profile")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["errors"] == []
    assert {"/boxes", "/boxes/{name}", "/orders", "/v1/auth/login", "/v1/state/{namespace}/{key}"} <= set(said["shown"])
    assert not [path for path in said["shown"] if path.startswith("/v1/actions/")]  # each action once, at its route
    assert {path: tried["status"] for path, tried in said["tried"].items()} == {
        "/boxes": "200",
        "/boxes/{name}": "404",
        "/v1/auth/me": "200",
    }
    assert said["tried"]["/boxes"]["url"].partition("?")[2] == "colour=red&is_open=true&most=7"
    assert said["tried"]["/boxes/{name}"]["url"].endswith("/boxes/tea")
    assert max(tried["height"] for tried in said["tried"].values()) < 3000  # pixels
