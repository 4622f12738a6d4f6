"""API keys over HTTP in every placement: what they may do, how they are exchanged, and that they end everywhere."""

from collections.abc import Iterator

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.people import PASSWORD, Person

from .test_users import root

__all__ = ["root"]


def _fresh(platform: Platform, key: str, method: str = "GET", path: str = "/v1/state/orders", **body: object) -> httpx.Response:
    """Ask on a connection of its own: any process may be met."""
    with httpx.Client(base_url=platform.gateway, timeout=60, headers={"x-api-key": key}, verify=NO_TLS) as http:
        return http.request(method, path, **({"json": body} if body else {}))


@pytest.fixture
def machine(root: Person) -> Iterator[str]:
    """Give the id of a service account that may do everything."""
    made = root.http.post("/v1/service-accounts", json={"name": "importer", "roles": ["admin"]})
    assert made.status_code == 201, made.text
    yield made.json()["id"]
    assert root.http.delete(f"/v1/service-accounts/{made.json()['id']}").status_code in {204, 404}


async def test_a_key_reads_is_exchanged_and_ends_everywhere(platform: Platform, root: Person, machine: str) -> None:
    """It does what its scope says and no more; both hold in the overlap; what ends is refused by every process."""
    asked = {"name": "reader", "owner": machine, "scopes": ["orders:read"]}
    made = root.http.post("/v1/api-keys", json=asked).json()
    assert _fresh(platform, made["key"]).status_code == 200
    refused = _fresh(platform, made["key"], "POST", "/orders", items=[{"sku": "tea", "quantity": 1}])
    assert (refused.status_code, refused.json()["metadata"]["permission"]) == (403, "orders:create")
    assert _fresh(platform, made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1")).json()["code"] == "API_KEY_INVALID"
    assert {one["id"] for one in root.http.get("/v1/api-keys", params={"owner": machine}).json()["items"]} == {made["id"]}

    successor = root.http.post(f"/v1/api-keys/{made['id']}/rotate", json={"overlap_seconds": 600}).json()
    assert root.http.get(f"/v1/api-keys/{made['id']}").json()["replaced_by"] == successor["id"]
    for key in (made["key"], successor["key"]):
        assert _fresh(platform, key).status_code == 200
    assert root.http.delete(f"/v1/api-keys/{made['id']}").status_code == 204
    await until(lambda: _fresh(platform, made["key"]).status_code == 401)
    assert _fresh(platform, successor["key"]).status_code == 200
    assert root.http.delete(f"/v1/service-accounts/{machine}").status_code == 204
    await until(lambda: _fresh(platform, successor["key"]).status_code == 401)


async def test_an_account_is_deleted_by_its_owner_and_by_an_administrator(platform: Platform, root: Person) -> None:
    """202, out everywhere, and gone once every service has answered."""
    with Person(platform.gateway) as ada, Person(platform.gateway) as bob:
        ada.register()
        bob.register()
        assert ada.http.request("DELETE", "/v1/auth/me", json={"password": PASSWORD}).status_code == 202
        assert root.http.delete(f"/v1/users/{bob.id}").status_code == 202
        for person in (ada, bob):
            await until(lambda person=person: person.http.get("/v1/auth/me").status_code == 401)
            await until(
                lambda person=person: root.http.get(f"/v1/users/{person.id}").json().get("status") == "deleted", within_s=60
            )
