"""realtime.yaml."""

import pytest
from stylobate.declarations.model import ChannelDeclaration


def test_channels_are_read(modules):
    """A channel namespace says who may subscribe and publish; nobody where it says nothing."""
    modules.write(
        "shop",
        states="namespaces:\n  orders: {}\n",
        realtime="""\
            namespaces:
              orders:
                access: { subscribe: "state:orders" }
                presence: true
              chat:
                access: { subscribe: authenticated, publish: subscribers }
                join_leave: true
              "": {}
            """,
    )
    declarations = modules.load()
    assert declarations.findings == ()
    file = f"{modules.folder}/shop/realtime.yaml"
    assert declarations.channels == {
        "orders": ChannelDeclaration("orders", "shop", "state:orders", "", presence=True, join_leave=False, file=file, line=2),
        "chat": ChannelDeclaration(
            "chat", "shop", "authenticated", "subscribers", presence=False, join_leave=True, file=file, line=5
        ),
        "": ChannelDeclaration("", "shop", file=file, line=8),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("history_size: 3", "`history_size` is not supported yet"),
        ("access: { subscribe: 'state:order' }", "no module declares the state namespace `order`; did you mean `orders`?"),
        ("access: { subscribe: 'state:orders or public' }", "stands alone"),
        ("access: { subscribe: owner }", "`owner` has no meaning here"),
        ("access: { publish: 'state:orders' }", "no module declares the permission `state:orders`"),
        ("access: { history: public }", "`history` is not supported yet"),
        ("presence: 'yes'", "`presence` must be true or false"),
    ],
)
def test_a_wrong_channel_is_a_finding_at_its_line(findings_of, text, message):
    """What nothing carries out, and what makes no sense, is named where it stands."""
    (finding,) = findings_of(states="namespaces:\n  orders: {}\n", realtime=f"namespaces:\n  orders:\n    {text}\n")
    assert finding.startswith("shop/realtime.yaml:3: ")
    assert message in finding
