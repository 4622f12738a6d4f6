"""What an action is done to."""

import pytest
from stylobate.declarations.action_resource import ActionResource


@pytest.mark.parametrize(
    ("payload", "resource"),
    [
        (b'{"order_id": "42"}', "state/orders/42"),
        (b'{"order_id": "1", "order_id": "2"}', "state/orders/2"),
        (b'{"order_id": "a/b"}', ""),
        (b'{"order_id": ".."}', ""),
        (b'{"order_id": ""}', ""),
        (b'{"order_id": 42}', ""),
        (b'{"order": "42"}', ""),
        (b'["order_id"]', ""),
        (b"{", ""),
        (b"", ""),
    ],
)
def test_the_resource_of_a_call(payload: bytes, resource: str) -> None:
    """It is what the handler will read, the last of two; what names none, or more than one object, is none."""
    assert ActionResource.parse("state/orders/{order_id}").of(payload) == resource
