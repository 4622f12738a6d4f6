"""A service's key is exchanged while everything runs, as docs/concepts/identity.md says, and taken away."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.identity.service_keys import generate_service_keys
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.people import Person

SOON = timedelta(seconds=60)
CONCERNED = ("gateway", "auth", "ratelimit")
"""Those that have a part in what is asked here."""


@pytest.mark.soak
def test_a_key_is_exchanged_and_taken_away(tmp_path: Path) -> None:
    """Nobody notices the exchange; when nobody knows the gateway's key any more, callers hear 503 and the log says why."""
    with Platform.run(tmp_path, "--split", environ={"STYLOBATE_LOG_FORMAT": "json"}) as platform, Person(platform.gateway) as ada:
        ada.register()
        folder = platform.project.identity
        answers: Counter[int] = Counter()

        def is_read(times: int) -> bool:
            """Ask for something, and tell whether those concerned have read the keys again so many times."""
            answers[ada.http.get("/v1/auth/me").status_code] += 1
            logs = {file.stem: file.read_text(encoding="utf-8") for file in platform.log_files()}
            return all(logs[name].count('"service_keys_read"') >= times for name in CONCERNED)

        (folder / "gateway.old.pub.pem").write_bytes((folder / "gateway.pub.pem").read_bytes())
        assert wait_until(lambda: is_read(1), SOON)
        (folder / "gateway.pem").unlink()
        generate_service_keys(folder, ["gateway"])
        assert wait_until(lambda: is_read(2), SOON)
        (folder / "gateway.old.pub.pem").unlink()
        assert wait_until(lambda: is_read(3), SOON)
        assert set(answers) == {200}

        (folder / "gateway.pub.pem").write_bytes((folder / "cli.pub.pem").read_bytes())
        seen: set[tuple[int, str]] = set()

        def is_refused() -> bool:
            answer = ada.http.get("/v1/auth/me")
            seen.add((answer.status_code, answer.json().get("code", "")))
            return (503, "SERVICE_TOKEN_REFUSED") in seen

        assert wait_until(is_refused, SOON)
        assert {status for status, _ in seen} <= {200, 503}
        logs = "".join(file.read_text(encoding="utf-8") for file in platform.log_files())
        assert '"service_token_refused"' in logs
