"""The command that grants what a refusal misses."""

import pytest
from stylobate.errors import PermissionDeniedError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate_gateway.granting import GrantingCommands

ADA = Principal(PrincipalKind.USER, "ada")
KEY = Principal(PrincipalKind.USER, "ada", is_key=True, scopes=frozenset({"orders:read"}))
COMMANDS = GrantingCommands({"user": {"orders:create"}, "boss": {"orders:*"}, "staff": {"orders:read", "orders:ship"}})


@pytest.mark.parametrize(
    ("metadata", "who", "command"),
    [
        ({"permission": "orders:ship"}, ADA, "stylobate users roles add ada staff"),
        ({"permission": "users:read"}, ADA, "stylobate users roles add ada admin"),
        (
            {"permission": "orders:read", "resource": "state/orders/it's 1"},
            ADA,
            "stylobate access grant ada orders:read 'state/orders/it'\"'\"'s 1'",
        ),
        ({"permission": "orders:read"}, KEY, "stylobate users roles add ada staff"),
        ({"permission": "orders:ship"}, KEY, None),
        ({"permission": "owner"}, ADA, None),
        ({}, ADA, None),
        ({"permission": "orders:ship"}, ANONYMOUS, None),
        ({"permission": "orders:ship"}, Principal(PrincipalKind.SERVICE, "service:cli"), None),
    ],
)
def test_the_command_lets_in(metadata: dict[str, str], who: Principal, command: str | None) -> None:
    """The smallest role that permits it, on an object a grant; nothing where neither would help, and quoted for a shell."""
    error = PermissionDeniedError(metadata=metadata)
    COMMANDS.tell(error, who)
    assert error.metadata == metadata | ({} if command is None else {"command": command})
