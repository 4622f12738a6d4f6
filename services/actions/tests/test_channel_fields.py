"""State events in channels: what some of the listeners may not see stays out of all places that hold data."""

import json
from dataclasses import replace

import pytest
from stylobate.declarations import Declarations
from stylobate.declarations.model import (
    AccessRule,
    ChannelDeclaration,
    FieldDeclaration,
    ModuleDeclaration,
    NamespaceAccess,
    NamespaceDeclaration,
)
from stylobate_actions.channel_fields import ChannelFields

HIDDEN = FieldDeclaration("person.email", read=AccessRule(("notes:admin",)))
NAMESPACE = NamespaceDeclaration(
    "notes", "notes", access=NamespaceAccess(read=AccessRule(("authenticated",))), event_data=("before",)
)


@pytest.mark.parametrize("declared", [{"fields": (HIDDEN,)}, {"encrypted": ("person.email",)}], ids=["hidden", "encrypted"])
@pytest.mark.parametrize(
    ("delta", "shown"),
    [
        ({"person": {"email": "new", "name": "Ada"}}, {"person": {"name": "Ada"}}),
        ({"person": {"email": None}}, {"person": {}}),
        ({"person": "gone"}, {}),
        (None, None),
    ],
)
async def test_a_hidden_field_leaves_neither_as_it_is_nor_as_it_was(tmp_path, declared, delta, shown):
    """The data, the data before, and what changed of it."""
    heard = []

    async def publish(_channel, payload, _send):
        heard.append(json.loads(payload))

    channel = ChannelDeclaration("notes", "notes", subscribe="state:notes")
    module = ModuleDeclaration("notes", tmp_path, namespaces=(replace(NAMESPACE, **declared),), channels=(channel,))
    fields = ChannelFields(Declarations((module,), (), ""), publish)
    data = {"person": {"email": "a@b.c", "name": "Ada"}}
    event = {"namespace": "notes", "data": data, "before": {"version": 1, "status": "", "data": data}, "delta": delta}
    await fields.publish("notes:1", json.dumps(event).encode())
    left = {"person": {"name": "Ada"}}
    assert heard == [event | {"data": left, "before": {"version": 1, "status": "", "data": left}, "delta": shown}]
