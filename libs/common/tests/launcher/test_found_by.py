"""What `status` says beside the services: who was found, and what ails that they share."""

from stylobate.launcher.standing import complaints_of, found_by, standing


def test_each_service_is_a_line() -> None:
    """Where and how, with weights where they differ; what a setting tells has no line, what two processes say alike has one."""
    state = {"how": "consul stylobate-state", "addresses": {"ipv4:10.0.0.1:9090": 1, "ipv4:10.0.0.2:9090": 3}, "trouble": ""}
    auth = {"how": "dns stylobate-auth:9090", "addresses": {}, "trouble": "nobody is there"}
    realtime = {"how": "dns stylobate-realtime:9090", "addresses": {}, "trouble": ""}
    told = {"how": "told", "addresses": {"unix:/run/x": 1}, "trouble": ""}
    said = {"discovery": {"found": {"state": state, "auth": auth, "realtime": realtime, "actions": told}}}
    assert found_by({"processes": {"a": said, "b": said, "old": {}}}) == [
        "state found by consul stylobate-state: ipv4:10.0.0.1:9090 x1, ipv4:10.0.0.2:9090 x3",
        "auth found by dns stylobate-auth:9090: no address is known yet",
        "realtime found by dns stylobate-realtime:9090: nobody has looked yet",
    ]


def test_what_services_share_is_said_beside_them() -> None:
    """Also where it ails while all services are healthy; what two processes say alike has one line."""
    line = "redis 10.0.0.1:7000: slots 8192-16383 belong to no node of the Cluster: waiting for a master that has them"
    said = {"redis": [{"status": "degraded", "details": line}], "identity": {"details": "the deny-list is 40 s old"}}
    answer = {"ready": True, "status": "degraded", "processes": {"a": said, "b": said}}
    assert complaints_of(answer) == ["the deny-list is 40 s old", line]
    assert standing(answer) == "ready, but degraded"
    assert standing(answer | {"status": "healthy"}) == "ready"
    assert standing({"ready": False, "status": "unhealthy"}) == "not ready"
