"""What `status` says of who was found."""

from stylobate.launcher.commands.status import found_by


def test_each_service_is_a_line() -> None:
    """Where and how, with weights where they differ; what a setting tells has no line, what two processes say alike has one."""
    state = {"how": "consul stylobate-state", "addresses": {"ipv4:10.0.0.1:9090": 1, "ipv4:10.0.0.2:9090": 3}, "trouble": ""}
    auth = {"how": "dns stylobate-auth:9090", "addresses": {}, "trouble": ""}
    told = {"how": "told", "addresses": {"unix:/run/x": 1}, "trouble": ""}
    said = {"discovery": {"found": {"state": state, "auth": auth, "actions": told}}}
    assert found_by({"processes": {"a": said, "b": said, "old": {}}}) == [
        "state found by consul stylobate-state: ipv4:10.0.0.1:9090 x1, ipv4:10.0.0.2:9090 x3",
        "auth found by dns stylobate-auth:9090: no address is known yet",
    ]
