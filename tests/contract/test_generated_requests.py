"""Requests that schemathesis makes up from the document, right ones and wrong ones: every answer is one that it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WHO = ["nobody", "user", "admin"]


def run(platform, token: str, folder: Path, *options: str) -> None:
    """Send what is made up, with every check on; fail with the report."""
    # a ban that is made up meets whoever tests, and a watch has no end; that check leaves a token out which is put back in
    apart = ["--exclude-path-regex", "^/v1/bans/|/watch$", "--exclude-checks", "missing_required_header"]
    ends = ["--exclude-path", "/v1/auth/logout", "--exclude-path", "/v1/auth/sessions/{session_id}"]
    for name in ("disable_user", "delete_user", "revoke_user_sessions"):  # the tester's own account is among those that it finds
        ends += ["--exclude-operation-id", name]
    session = [*ends, "-H", f"Authorization: Bearer {token}"] if token else []
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
        *(f"{platform.gateway}/openapi.json", "--checks", "all", "--no-color", "--suppress-health-check", "all"),
        *("--continue-on-failure", "--request-timeout", "30", *apart, *session, *options),
    ]
    known = {"SCHEMATHESIS_HOOKS": "tests.contract.generated", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, cwd=folder, env=os.environ | known, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]


@pytest.mark.timeout(400)
def test_answers_are_what_the_document_promises(platform, tokens, tmp_path):
    """A few requests for each operation, the same each time, of an administrator: others are refused nearly everywhere.

    Every value at its bounds, one at a time, is for the long test: 4,800 requests.
    """
    run(platform, tokens["admin"], tmp_path, "--seed", "1", "--max-examples", "3", "--phases", "examples,fuzzing")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", ["2", "3", "4"])
@pytest.mark.parametrize("who", WHO)
def test_answers_are_what_the_document_promises_for_long(platform, tokens, tmp_path, who, seed):
    """Thousands, on several seeds, in sequences too."""
    run(platform, tokens[who], tmp_path, "--seed", seed, "--max-examples", "100")
