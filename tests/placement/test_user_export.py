"""All that is kept of a person is given out, from every service and module, whichever processes hold what."""

import json
from pathlib import Path

import grpc
from stylobate.api.auth.v1.user_export_service_pb2 import ExportMeRequest
from stylobate.api.auth.v1.user_export_service_pb2_grpc import UserExportServiceStub

from .test_channel_rights import admin

__all__ = ["admin"]


def _names(document):
    """Return its sections, but for those of records, which some services write a moment later."""
    return [(one["source"], one["name"]) for one in document["sections"] if one["source"] != "audit"]


def test_a_person_is_given_out_everywhere(platform, person, admin, tmp_path):
    """By its owner over HTTP and gRPC, by an administrator, by the command: the same sections, and what is missing is named."""
    ada, eve = person(), person()
    order, other = ada.order(), eve.order()
    assert admin.http.put(f"/v1/users/{ada.id}/roles/staff").status_code == 200
    answer = ada.http.get("/v1/auth/me/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    sections = {(one["source"], one["name"]): one for one in document["sections"]}
    assert [one["key"] for one in sections["state", "orders"]["items"]] == [order]
    assert sections["modules", "probe"] == {
        "source": "modules",
        "name": "probe",
        "items": [{"as": "service:actions", "of": ada.id}],
        "complete": False,
        "reason": "PROBE_CLOSED",
        "detail": "The probe is closed on Sundays.",
    }
    assert (document["user_id"], document["complete"]) == (ada.id, False)
    recorded = sections["audit", "auth"]["items"]
    (given,) = [one for one in recorded if one["action"] == "auth.role.assign"]
    assert (given["actor"], "address" in given["detail"]) == (None, False)
    assert other not in answer.text
    assert eve.id not in answer.text
    assert admin.id not in answer.text

    with grpc.insecure_channel(platform.grpc["auth"]) as channel:
        called = UserExportServiceStub(channel).ExportMe(
            ExportMeRequest(), timeout=20, metadata=[("authorization", f"Bearer {ada.token}")]
        )
        parts = list(called)
    assert _names(json.loads(b"".join(part.part for part in parts))) == _names(document)
    assert [(one.source, one.name, one.reason) for one in parts[-1].failures] == [("modules", "probe", "PROBE_CLOSED")]

    refused = eve.http.get(f"/v1/users/{ada.id}/export")
    assert (refused.status_code, refused.json()["metadata"]["permission"]) == (403, "users:export")
    assert _names(admin.http.get(f"/v1/users/{ada.id}/export").json()) == _names(document)

    file = tmp_path / "ada.json"
    written = platform.command("users", "export", ada.id, "--to", str(file))
    assert written.returncode == 1, written.stdout + written.stderr
    assert written.stdout == f"missing: modules probe (PROBE_CLOSED)\nwrote {file}, which is NOT complete\n"
    assert _names(json.loads(file.read_text())) == _names(document)
    assert (file.stat().st_mode & 0o777, [path.name for path in Path(tmp_path).iterdir()]) == (0o600, ["ada.json"])
    assert platform.command("users", "export", ada.id, "--to", str(file)).returncode == 2
