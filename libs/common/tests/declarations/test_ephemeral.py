"""Ephemeral namespaces in states.yaml: `durability` and `ttl`, and what such a namespace cannot have."""

from datetime import timedelta

import pytest
from stylobate.declarations.ephemeral import KEPT
from stylobate.declarations.states_file import NAMESPACE_KEYS

MODULE = "name: shop\n"
CARTS = """\
namespaces:
  carts:
    durability: ephemeral
    ttl: 30m
    schema: { type: object, properties: { total: { type: integer } } }
    initial: open
    access: { read: owner, list: owner, create: authenticated, write: owner }
    transitions:
      close: { from: open, to: closed, access: owner, guard: data.total > 0 }
    before: { created: check }
    fields: { total: { read: owner } }
"""


def test_an_ephemeral_namespace_is_read(modules):
    """With all that does not need to be kept; one that says nothing, or `durable`, is durable."""
    modules.write("shop", module=MODULE, states=CARTS + "  orders: { durability: durable }\n  notes: {}\n")
    declarations = modules.load()
    assert declarations.findings == ()
    assert {name: one.ttl for name, one in declarations.namespaces.items()} == {
        "carts": timedelta(minutes=30),
        "orders": None,
        "notes": None,
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("timers: [{ in: open, after: 5m, event: close }]", "an ephemeral namespace cannot have `timers`"),
        ("indexes: [{ fields: [total], unique: true }]", "an ephemeral namespace cannot have `indexes`"),
        ("on_enter: { closed: [shop.mail] }", "an ephemeral namespace cannot have `on_enter`"),
        ("on_exit: { open: shop.mail }", "an ephemeral namespace cannot have `on_exit`"),
        ("schema_version: 1", "an ephemeral namespace cannot have `schema_version`"),
    ],
)
def test_what_needs_keeping_is_refused_where_it_stands(findings_of, more, message):
    """Each key at its line."""
    (finding,) = findings_of(module=MODULE, states=f"{CARTS}    {more}\n")
    assert finding.startswith("shop/states.yaml:12: ")
    assert message in finding
    assert finding.endswith("(namespace carts)")


def test_a_key_is_refused_until_somebody_says_that_it_holds():
    """What an ephemeral namespace may have is a list, and all of it are keys: a new key is refused by itself."""
    assert set(KEPT) < set(NAMESPACE_KEYS)


def test_an_effect_of_a_transition_is_refused_at_its_line(findings_of):
    """`do` lives of events too."""
    states = CARTS.replace("access: owner, guard", "do: shop.mail, access: owner, guard")
    (finding,) = findings_of(module=MODULE, states=states)
    assert finding.startswith("shop/states.yaml:9: an ephemeral namespace cannot have `do`")


@pytest.mark.parametrize(
    ("was", "becomes", "line", "message"),
    [
        ("    ttl: 30m\n", "", 3, "`ttl` is missing"),
        ("ttl: 30m", "ttl: 30", 4, "`ttl`: 30 has no unit; write `30s`"),
        ("ttl: 30m", "ttl: soon", 4, "`ttl`: 'soon' is not a duration"),
        ("ttl: 30m", "ttl: 31d", 4, "a duration is at most 30d"),
        ("ttl: 30m", "tll: 30m", 4, "unknown key `tll` in namespace carts; did you mean `ttl`?"),
        ("durability: ephemeral", "durability: ephemral", 3, "must be durable or ephemeral; did you mean `ephemeral`?"),
        ("durability: ephemeral", "durability: durable", 4, "`ttl` is for `durability: ephemeral`"),
        ("    durability: ephemeral\n", "", 3, "`ttl` is for `durability: ephemeral`"),
        ("durability: ephemeral", "durabilty: ephemeral", 3, "did you mean `durability`?"),
    ],
)
def test_a_wrong_word_is_a_finding_at_its_line(findings_of, was, becomes, line, message):
    """One finding for one fault."""
    (finding,) = findings_of(module=MODULE, states=CARTS.replace(was, becomes))
    assert finding.startswith(f"shop/states.yaml:{line}: ")
    assert message in finding


def test_channels_cannot_follow_an_ephemeral_object(findings_of):
    """Who may subscribe would have to end with the object, and nothing tells of that."""
    realtime = 'namespaces:\n  carts:\n    access: { subscribe: "state:carts" }\n'
    (finding,) = findings_of(module=MODULE, states=CARTS, realtime=realtime)
    assert finding.startswith("shop/realtime.yaml:3: the namespace `carts` is ephemeral: nothing is told of its changes")


def test_no_projection_is_made_of_an_ephemeral_namespace(findings_of):
    """There are no events to make it of."""
    states = CARTS + "  sums: { access: { read: authenticated } }\nprojections:\n  sums: { from: carts, method: add }\n"
    (finding,) = findings_of(module=MODULE, states=states)
    assert finding.startswith("shop/states.yaml:14: the namespace `carts` is ephemeral")


def test_no_projection_is_ephemeral(findings_of):
    """What is made of events stays as they do."""
    read = "access: { read: authenticated }"
    states = f"namespaces:\n  orders: {{ {read} }}\n  sums: {{ durability: ephemeral, ttl: 5m, {read} }}\n"
    (finding,) = findings_of(module=MODULE, states=states + "projections:\n  sums: { from: orders, method: add }\n")
    assert finding.startswith("shop/states.yaml:3: namespace sums is made by a projection: it is kept as long as")
