"""Rules and bans over four workers, with a real Valkey and PostgreSQL that are killed."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.people import PASSWORD, Person, logged_out

ASKED = 2000
PATIENCE = timedelta(seconds=60)
AT_A_TIME = 100


def _until(ask: Callable[[], object]) -> bool:
    return wait_until(ask, PATIENCE)


def _metrics(platform: Platform) -> dict[str, float]:
    """Return the sums over all processes: checks, and the requests of those who are banned."""
    text = httpx.get(f"{platform.endpoints['admin']}/metrics", timeout=30, verify=NO_TLS).text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] += sample.value
    return found


async def _all(platform: Platform, path: str, token: str) -> Counter[int]:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    host, _, port = platform.gateway.rpartition("/")[2].rpartition(":")

    async def share() -> list[int]:
        """Ask over one connection; a client with a pool of them is slower than what it asks."""
        reader, writer = await asyncio.open_connection(host, int(port))
        ends = []
        for _ in range(ASKED // AT_A_TIME):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            await reader.readexactly(int(fields[b"content-length"]))
            ends.append(int(head.split()[1]))
        writer.close()
        return ends

    shares = await asyncio.gather(*(share() for _ in range(AT_A_TIME)))
    return Counter(end for ends in shares for end in ends)


@pytest.mark.parametrize("how", ["window", "gcra"])
async def test_of_two_thousand_at_a_time_exactly_a_hundred_pass(platform: Platform, person: Any, how: str) -> None:
    """Whichever of the four workers each one asks."""
    ada = await asyncio.to_thread(person)
    ends = await _all(platform, f"/v1/state/counted-by-{how}", ada.token)
    assert ends == {404: 100, 429: ASKED - 100}  # there is no such namespace: what passes the limit is told so


def _code(one: Person, path: str = "/v1/actions") -> str:
    """Ask over a connection of its own, so that any worker may answer."""
    headers = {"authorization": f"Bearer {one.token}"}
    answer = httpx.get(f"{one.http.base_url}{path}", headers=headers, timeout=60, verify=NO_TLS)
    return "served" if answer.status_code == 200 else str(answer.json()["code"])


def test_refusals_lead_to_a_ban_of_who_is_refused(platform: Platform, person: Any, operator: Person) -> None:
    """Five refusals ban on every worker; from then on nobody is asked for that client, and its neighbour is served."""
    ada, ben = person("ada"), person("ben")
    answers = [_code(ada) for _ in range(10)]
    assert answers[:5] == ["served"] * 5
    assert set(answers[5:]) == {"RATE_LIMITED"}
    assert _until(lambda: {_code(ada, "/v1/auth/me") for _ in range(16)} == {"BANNED"})

    before = _metrics(platform)
    assert {_code(ada, "/v1/auth/me") for _ in range(40)} == {"BANNED"}
    after = _metrics(platform)
    assert after["stylobate_ratelimit_checks_total"] == before["stylobate_ratelimit_checks_total"]
    assert after["stylobate_banned_requests_total"] == before["stylobate_banned_requests_total"] + 40
    assert _code(ben, "/v1/auth/me") == "served"

    with logged_out(platform.gateway) as nobody:
        asked = {"login": {"email": ada.email, "password": PASSWORD}, "refresh": {"refresh_token": ada.refresh_token}}
        for path, body in asked.items():
            answer = nobody.post(f"/v1/auth/{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "BANNED"), answer.text
            assert 0 < int(answer.headers["retry-after"]) <= 600

    found = operator.http.get(f"/v1/bans/user/{ada.id}").json()
    assert (found["rule"], found["strikes"], found["actor"]) == ("site.patience", 1, None)
    answer = httpx.get(f"{platform.gateway}/v1/auth/me", headers={"authorization": f"Bearer {ada.token}"}, verify=NO_TLS)
    assert 0 < int(answer.headers["retry-after"]) <= 600
    assert operator.http.delete(f"/v1/bans/user/{ada.id}").status_code == 204
    assert _until(lambda: {_code(ada, "/v1/auth/me") for _ in range(16)} == {"served"})


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_network_is_kept_out_and_the_operator_has_a_key(platform: Platform, operator: Person, slash: str) -> None:
    """The operator's own address among them: then the command lets them in again."""
    answer = operator.http.put(f"/v1/bans/ip/2001:db8:1::7{slash}48", json={"reason": "scraping"})
    assert (answer.status_code, answer.json()["id"]) == (200, "2001:db8:1::/48"), answer.text
    assert operator.http.delete(f"/v1/bans/ip/2001:db8:1::{slash}48").status_code == 204
    assert operator.http.put(f"/v1/bans/ip/0.0.0.0{slash}0", json={}).json()["code"] == "BAN_INVALID"
    assert operator.http.put(f"/v1/bans/ip/127.0.0.1{slash}8", json={}).status_code == 200
    assert _until(lambda: {_code(operator, "/v1/auth/me") for _ in range(16)} == {"BANNED"})
    assert "ip 127.0.0.0/8" in platform.command("limits", "bans", "--address", "127.0.0.1").stdout
    assert "lifted" in platform.command("limits", "unban", "ip", "127.0.0.0/8").stdout
    assert _until(lambda: {_code(operator, "/v1/auth/me") for _ in range(16)} == {"served"})


def test_what_is_asked_for_by_head_is_counted_as_get(platform: Platform, person: Any) -> None:
    """It costs as much, so nobody comes past a rule with it."""
    cara = person("cara")
    shown = {limit["name"]: limit["remaining"] for limit in cara.http.get("/v1/limits").json()["items"]}
    assert (shown["site.patience"], "site.looks" in shown) == (5, False)  # whatever it matches; a shadow is nobody's business
    heads = [cara.http.head("/v1/actions").status_code for _ in range(6)]
    assert heads == [200] * 5 + [429]
    assert _code(cara) == "RATE_LIMITED"


def test_no_ban_is_lost_and_none_doubled(platform: Platform, person: Any, operator: Person) -> None:
    """Whatever is killed while bans begin: what was answered holds, and each subject has one ban."""
    people = [person(f"p{number}") for number in range(6)]
    kills = ["platform-0", "valkey", "platform-1", "postgres", "platform-2", "valkey"]
    for one, name in zip(people, kills, strict=True):
        assert _until(lambda name=name: name in platform.children)
        platform.kill(name)

        def put(one: Person = one) -> bool:
            try:
                return operator.http.put(f"/v1/bans/user/{one.id}", json={"reason": "kept"}).status_code == 200
            except httpx.TransportError:
                return False

        assert _until(put)
    assert _until(lambda: all({_code(one, "/v1/auth/me") for _ in range(12)} == {"BANNED"} for one in people))
    listed = [ban["id"] for ban in operator.http.get("/v1/bans?level=user&page_size=500").json()["items"]]
    assert sorted(listed) == sorted({*listed})
    assert {one.id for one in people} <= set(listed)
    for one in people:
        assert operator.http.delete(f"/v1/bans/user/{one.id}").status_code == 204


def test_a_shadow_lets_pass_and_is_told(platform: Platform, person: Any) -> None:
    """What it would have refused stands in the metrics."""
    ada = person()
    assert {_code(ada, "/v1/auth/me") for _ in range(5)} == {"served"}
    text = httpx.get(f"{platform.endpoints['admin']}/metrics", timeout=30, verify=NO_TLS).text
    assert any('rule="site.looks"' in line and 'mode="shadow"' in line for line in text.splitlines())


def test_a_changed_file_holds_everywhere_and_a_bad_one_nowhere(platform: Platform, person: Any, rules: Path) -> None:
    """Every worker reads it anew while requests go on; mistakes are told, and what held before holds."""
    ada, before = person(), rules.read_text()
    try:
        rules.write_text(before.replace("site.looks: { limit: 1/hour", "site.looks: { limit: 1/eon"))
        assert _until(lambda: "1/eon" in str(platform.status()) and platform.status()["status"] == "degraded")
        assert ", ready, but degraded\n" in platform.command("status").stdout
        assert {_code(ada, "/v1/auth/me") for _ in range(8)} == {"served"}
        rules.write_text(before.replace("shadow: true", "shadow: false"))
        assert _until(lambda: [_code(ada, "/v1/auth/me") for _ in range(16)] == ["RATE_LIMITED"] * 16)
        assert _until(lambda: platform.status()["status"] == "healthy")
    finally:
        rules.write_text(before)
    assert _until(lambda: {_code(ada, "/v1/auth/me") for _ in range(16)} == {"served"})
