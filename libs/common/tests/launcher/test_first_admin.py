"""What the operator is told of the first administrator's invitation."""

import json

from stylobate.api.auth.v1.first_admin_service_pb2 import InviteFirstAdminResponse
from stylobate.launcher.first_admin import told


def test_where_there_is_no_page_no_secret_stands_in_a_command() -> None:
    """It would be in the shell's history, and in the list of processes, with the password that goes along."""
    _, command, _, line = told(InviteFirstAdminResponse(token="t0ken"), "https://example.com").split("\n")
    assert command.split()[-2:] == ["-d", "@-"]
    assert "t0ken" not in command
    assert json.loads(line)["token"] == "t0ken"


def test_the_link_is_all_that_is_told() -> None:
    """Where there is a page, with the token behind the `#`."""
    link = "http://localhost:8080/first-admin#t0ken"
    assert told(InviteFirstAdminResponse(token="t0ken", link=link), "").split()[-1] == link
