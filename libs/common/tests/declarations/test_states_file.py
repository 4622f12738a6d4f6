"""states.yaml."""

from datetime import timedelta

import pytest
from stylobate.declarations.model import AccessRule, BeforeHook, FieldDeclaration, Severity, TimerDeclaration

MODULE = """\
name: shop
permissions:
  "orders:read": Read orders
  "orders:ship": Ship orders
"""

ORDERS = """\
    namespaces:
      orders:
        initial: pending
        access: { read: orders:read or owner, create: actions }
        transitions:
          pay: { from: pending, to: paid, access: owner }
          cancel: { from: [pending, paid], to: cancelled }
"""


def test_a_namespace_is_not_called_like_a_path(modules):
    """/v1/state/transactions is the platform's: the finding says so, where the name stands."""
    modules.write("shop", module=MODULE, states=ORDERS.replace("orders:\n", "transactions:\n", 1))
    (finding,) = modules.load().findings
    assert (finding.line, finding.severity) == (2, Severity.ERROR)
    assert "/v1/state/transactions is a path of the platform's own" in finding.message


def test_a_namespace_is_read_with_its_machine(modules):
    """Statuses are collected, a single `from` counts as a list, what is not said is closed."""
    modules.write("shop", module=MODULE, states=ORDERS)
    declarations = modules.load()
    assert ["nobody can fire `cancel`" in str(finding) for finding in declarations.findings] == [True]
    orders = declarations.namespaces["orders"]
    assert (orders.initial, orders.statuses) == ("pending", ("cancelled", "paid", "pending"))
    assert orders.access.read == AccessRule(("orders:read", "owner"))
    assert orders.access.create == AccessRule(("actions of shop",))
    assert orders.access.write == orders.access.delete == orders.access.list == AccessRule()
    assert (orders.transitions["pay"].sources, orders.transitions["pay"].target) == (("pending",), "paid")
    assert orders.transitions["pay"].access == AccessRule(("owner",))
    assert orders.transitions["cancel"].sources == ("pending", "paid")
    assert orders.transitions["cancel"].access is None


def test_handlers_are_of_a_module(modules):
    """Plain `actions` are the module's own; another module is named, however it is spaced."""
    modules.write("till", module="name: till\ndependencies: [shop]\n")
    access = "{ read: actions or actions  of till, create: actions of till, write: actions of shop }"
    modules.write("shop", states=f"namespaces:\n  x: {{ access: {access} }}\n")
    declarations = modules.load()
    assert declarations.findings == ()
    found = declarations.namespaces["x"].access
    assert found.read == AccessRule(("actions of shop", "actions of till"))
    assert found.create == AccessRule(("actions of till",))
    assert found.write == AccessRule(("actions of shop",))


@pytest.mark.parametrize(
    ("rule", "severity", "message"),
    [
        ("actions of til", Severity.ERROR, "`actions of til`: there is no such module; did you mean `till`?"),
        ("actions of bank", Severity.WARNING, "refused all the same until its module.yaml says `dependencies: [shop]`"),
        ("actions of till, bank", Severity.ERROR, "names no module; write `actions of shop or actions of billing`"),
        ("actions of", Severity.ERROR, "names no module"),
        ("actions or actions of shop", Severity.ERROR, "names a term twice"),
    ],
)
def test_a_rule_names_modules_that_are_there_and_use_this_one(modules, rule, severity, message):
    """A module that there is none of is an error; one that does not depend on this one a warning, as it is refused anyway."""
    modules.write("bank")
    modules.write("till", module="name: till\ndependencies: [shop]\n")
    modules.write("shop", states=f"namespaces:\n  x:\n    access:\n      write: {rule}\n")
    (finding,) = (found for found in modules.load().findings if not found.follows)
    assert (finding.line, finding.severity) == (4, severity)
    assert message in finding.message


@pytest.mark.parametrize(
    ("guard", "line", "message"),
    [
        ('"data.total >"', 11, "column 29: Syntax error: mismatched input '<EOF>'"),
        ("data.total > 0 && datum", 11, "column 34: knows no `datum`"),
        ("principal.sub == 'ada'", 11, "column 25: knows no `principal.sub`; did you mean `principal.subject`?"),
        ("data.total", None, ""),
        ("data.total + 1", 11, "is int, not true or false"),
        ("object.version + 1", 11, "column 16: is int, not true or false"),
        ("1 + 'a' == 2", 11, "column 18: found no matching overload for '_+_' applied to '(int, string)'"),
        ("data.totl > 0 || 'data.x' == data.note", 11, "column 16: the schema of the data has no `totl`; did you mean `total`?"),
        ("|\n          data.total > 0\n          && dat.x", 13, "column 7: knows no `dat.x`"),
        ('""', 11, "`guard` must be text"),
        ("7", 11, "`guard` must be text; put it in quotes"),
        ("(" * 100 + "true" + ")" * 100, 11, "recursion limit exceeded"),
    ],
)
def test_a_guard_is_compiled_when_it_is_read(modules, guard, line, message):
    """What can never come to true or false is named with file, line and column; what depends on the data is left to the data."""
    states = f"""\
namespaces:
  orders:
    initial: pending
    schema:
      additionalProperties: false
      properties: {{ total: {{ type: integer }}, note: {{ type: string }} }}
    transitions:
      pay:
        from: pending
        to: paid
        guard: {guard}
"""
    modules.write("shop", module=MODULE, states=states)
    declarations = modules.load()
    found = [str(finding) for finding in declarations.findings]
    if line is None:
        assert found == []
        assert declarations.namespaces["orders"].transitions["pay"].guard == guard
        return
    assert len(found) == 1
    assert f"shop/states.yaml:{line}: " in found[0]
    assert message in found[0]


def test_timers_are_read(modules):
    """Several in one status, whatever the event's own access; up to a year."""
    timers = "        timers: [{ in: pending, after: 15m, event: cancel }, { in: pending, after: 30d, event: pay }]\n"
    modules.write("shop", module=MODULE, states=ORDERS + timers)
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.namespaces["orders"].timers == (
        TimerDeclaration("pending", timedelta(minutes=15), "cancel"),
        TimerDeclaration("pending", timedelta(days=30), "pay"),
    )


@pytest.mark.parametrize(
    ("timers", "message"),
    [
        ("[{ in: pending, after: 15m, event: cancl }]", "no transition is called `cancl`; did you mean `cancel`?"),
        ("[{ in: paid, after: 15m, event: pay }]", "`pay` does not leave the status `paid`"),
        ("[{ in: pendng, after: 15m, event: pay }]", "`pay` does not leave the status `pendng`; did you mean `pending`?"),
        ("[{ after: 15m, event: pay }]", "`in` is missing in a timer of namespace orders"),
        ("[{ in: pending, event: pay }]", "`after` is missing in a timer of namespace orders"),
        ("[{ in: pending, after: -5m, event: pay }]", "'-5m' is not a duration"),
        ("[{ in: pending, after: 0s, event: pay }]", "a duration must be more than nothing"),
        ("[{ in: pending, after: 15, event: pay }]", "15 has no unit; write `15s`"),
        ("[{ in: pending, after: 367d, event: pay }]", "a duration is at most 366d"),
        (
            "[{in: pending, after: 1m, event: pay}, {in: pending, after: 2m, event: pay}]",
            "`pay` has a timer in `pending` already",
        ),
        ("[{ in: pending, after: 1m, event: pay, who: me }]", "unknown key `who`"),
        ("{ in: pending, after: 1m, event: pay }", "`timers` must be a list"),
        ("[pending]", "must be a mapping"),
    ],
)
def test_a_wrong_timer_is_a_finding(findings_of, timers, message):
    """What could never fire is refused, at its line."""
    findings = findings_of(module=MODULE, states=f"{ORDERS}        timers: {timers}\n")
    assert any(finding.startswith("shop/states.yaml:8: ") and message in finding for finding in findings), findings


def test_before_hooks_deny_unless_they_say_otherwise(modules):
    """A hook is a method's name, or a mapping that says what holds while the actions service is away."""
    modules.write(
        "shop",
        module=MODULE,
        states=ORDERS + "        before:\n          created: check\n          pay: { method: charge, on_unavailable: allow }\n",
    )
    declarations = modules.load()
    assert ["nobody can fire `cancel`" in str(finding) for finding in declarations.findings] == [True]
    assert declarations.namespaces["orders"].before == {
        "created": BeforeHook("shop", "check", "deny"),
        "pay": BeforeHook("shop", "charge", "allow"),
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("storage: fast", 9, "`storage` is not supported yet"),
        ("before: { ship: check }", 9, "unknown key `ship` in `before` of namespace orders"),
        ("before: { pay: { method: charge, on_unavailable: maybe } }", 9, "must be deny or allow"),
        ("before: { pay: 3 }", 9, "`pay` must name a public method"),
        ("history: 0", 9, "`history` must be a whole number from 1"),
        ("history: 30d", 9, "`history` must be a whole number from 1"),
        ("retention: 30d", 9, "retention` of namespace orders must be a mapping"),
        ("retention: {}", 9, "`deleted` is missing"),
        ("retention: { deleted: 30 }", 9, "`deleted`: 30 has no unit; write `30d`"),
        ("retention: { deleted: never }", 9, "'never' is not a duration"),
        ("retention: { all: 3d, deleted: 3d }", 9, "unknown key `all`"),
        ("events: [before]", 9, "`events` of namespace orders must be a mapping"),
        ("events: {}", 9, "`events` says nothing: its `data` lists some of before, delta, cause"),
        ("events: { data: [] }", 9, "`events` says nothing"),
        ("events: { data: before }", 9, "`data` must be a list of texts"),
        ("events: { data: [before, befor] }", 9, "no event has `befor`"),
        ("events: { date: [before] }", 9, "unknown key `date`"),
        ("schema_version: 0", 9, "`schema_version` must be a whole number from 1"),
        ("schema_version: 2", 9, "`schema_version: 2` needs `upgrade`"),
        ("upgrade: to_euros", 9, "`upgrade` is never asked while `schema_version` is 1"),
        ("upgrade: 2 euros", 9, "`upgrade` must name a public method"),
        ("upgrade: [a, b]", 9, "`upgrade` must be text"),
        ("schema: { $ref: '#/schemas/Order' }", 9, "`$ref` must be `actions.yaml#/schemas/<Name>`"),
        ("schema: { $ref: 'actions.yaml#/schemas/Order' }", 9, "there is no schema `Order` in actions.yaml"),
        ("schema: { type: objekt }", 9, "no valid JSON Schema: `type`"),
    ],
)
def test_a_wrong_key_of_a_namespace_is_a_finding_at_its_line(findings_of, text, line, message):
    """What nothing carries out, and what makes no sense, is named where it stands."""
    (finding,) = findings_of(module=MODULE, states=f"{ORDERS}\n        {text}\n")
    assert finding.startswith(f"shop/states.yaml:{line}: ")
    assert message in finding


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        ("{ from: pending, to: paid, do: [mail] }", "`mail` must be an action of this module, `shop.<name>` (transition go)"),
        ("{ from: pending, to: paid, do: 3 }", "`do` must be a text or a list of texts"),
        ("{ from: pending, to: paid, do: [shop.mail, shop.mail] }", "`shop.mail` stands twice in `do`"),
        ("{ from: pending }", "`to` is missing in transition go"),
        ("{ to: paid }", "`from` is missing in transition go"),
        ("{ from: pending, to: paid, access: orders:fly }", "no module declares the permission `orders:fly`"),
        ("{ from: pending, to: a b }", "'a b' is not a valid status name"),
        ("{ from: pending, to: paid, data: note }", "`data` must be a list of texts"),
        ("{ from: pending, to: paid, data: [1] }", "`data` must be a list of texts"),
        ("{ from: pending, to: paid, data: [note, note] }", "`note` stands twice in `data`"),
        ("{ from: pending, to: paid, data: {} }", "`data` must be a list of fields, or the schema of an object"),
        ("{ from: pending, to: paid, data: { type: object } }", "`data` must be a list of fields, or the schema of an object"),
        ("{ from: pending, to: paid, data: { properties: { a: true } } }", "`data` must be a list of fields, or the schema"),
        ("{ from: pending, to: paid, data: { type: objekt } }", "no valid JSON Schema: `type`"),
        ("{ form: pending, to: paid, from: pending }", "unknown key `form` in transition go; did you mean `from`?"),
    ],
)
def test_a_wrong_transition_is_a_finding(findings_of, transition, message):
    """What nothing carries out is named, and the rest must be whole."""
    states = f"namespaces:\n  orders:\n    initial: pending\n    transitions:\n      go: {transition}\n"
    (finding,) = findings_of(module=MODULE, states=states)
    assert finding.startswith("shop/states.yaml:5: ")
    assert message in finding


DATA = """\
    schemas:
      Order:
        type: object
        additionalProperties: false
        properties: { total: { type: integer }, note: { type: string }, address: { $ref: "#/schemas/Address" } }
      Address: { type: object, properties: { zip: { type: string } } }
      Paying: { type: object, properties: { address: { $ref: "#/schemas/Address" } } }
"""


def carrying(modules, data: str, *, write: str = "actions", access: str = "owner"):
    """Load a namespace whose event `pay` carries this."""
    states = f"""\
        namespaces:
          orders:
            schema: {{ $ref: "actions.yaml#/schemas/Order" }}
            initial: pending
            access: {{ write: {write} }}
            transitions:
              pay: {{ from: pending, to: paid, access: {access}, data: {data} }}
        """
    modules.write("shop", module=MODULE, actions=DATA, states=states)
    return modules.load()


def test_what_an_event_carries_is_a_closed_schema(modules):
    """A list of fields, or a schema, which is closed all the way down: what it does not name is not carried."""
    carried = carrying(modules, "[note]").namespaces["orders"].transitions["pay"].data
    assert carried == {"type": "object", "properties": {"note": True}, "additionalProperties": False}


def test_a_schema_of_what_an_event_carries_is_closed(modules):
    """Inside what it refers to as well."""
    carried = carrying(modules, '{ $ref: "actions.yaml#/schemas/Paying" }').namespaces["orders"].transitions["pay"].data
    assert carried is not None
    assert [definition["additionalProperties"] for definition in carried["$defs"].values()] == [False, False]


@pytest.mark.parametrize("data", ["[]", ""])
def test_an_event_that_names_no_fields_carries_none(modules, data):
    """As one that does not say `data`."""
    assert carrying(modules, data).namespaces["orders"].transitions["pay"].data is None


@pytest.mark.parametrize("data", ["[note, adress]", "{ type: object, properties: { adress: true } }"])
def test_a_field_that_the_data_does_not_have_is_a_finding(modules, data):
    """A closed schema knows its members; a mistyped one is named with what is close."""
    carrying(modules, data)
    (finding,) = modules.findings()
    assert finding.startswith("shop/states.yaml:7: `data` of transition pay: the schema of the data has no `adress`")
    assert "did you mean `address`?" in finding


@pytest.mark.parametrize(
    ("write", "access", "wider"),
    [
        ("actions", "owner", "owner"),
        ("owner", "owner or orders:ship", "orders:ship"),
        ("owner", "authenticated", "authenticated"),
        ("authenticated", "public or owner", "public"),
        ("authenticated", "actions", "actions of shop"),
        ("actions", "orders:ship or owner", "orders:ship or owner"),
        ("owner", "owner", ""),
        ("owner or orders:ship", "orders:ship", ""),
        ("authenticated", "owner or orders:ship", ""),
        ("public", "public or actions or owner", ""),
    ],
)
def test_an_event_with_data_that_is_open_to_more_than_write_is_a_warning(modules, write, access, wider):
    """It lets somebody set fields who could not otherwise: that may be meant, and must have been thought of."""
    carrying(modules, "[note]", write=write, access=access)
    warnings = modules.findings(Severity.WARNING)
    if wider:
        (warning,) = warnings
        assert warning.startswith(f"shop/states.yaml:7: transition pay lets {wider} set fields of the data, though `write`")
    else:
        assert warnings == []


def test_an_event_without_access_of_its_own_is_open_to_write_alone(modules):
    """So it may carry what it declares without a word."""
    states = "namespaces:\n  o:\n    initial: a\n    transitions:\n      go: { from: a, to: b, data: [note] }\n"
    modules.write("shop", states=states)
    assert modules.load().findings == ()


def test_transitions_need_a_first_status(findings_of):
    """A machine without `initial` could never start."""
    (finding,) = findings_of(states="namespaces:\n  orders:\n    transitions:\n      go: { from: a, to: b }\n")
    assert "`initial` is missing in namespace orders" in finding


def test_creating_has_no_owner(findings_of):
    """`owner` in the rule for create is refused: nobody owns what does not exist."""
    (finding,) = findings_of(states="namespaces:\n  orders:\n    access:\n      create: owner\n")
    assert finding.startswith("shop/states.yaml:4: `create`: `owner` has no meaning here")


def test_a_status_that_nothing_reaches_is_an_error(modules):
    """An island in the machine is told once, also when it is entered from itself only: what lies behind it follows from it."""
    modules.write(
        "shop",
        states="""\
            namespaces:
              orders:
                initial: pending
                transitions:
                  pay: { from: pending, to: paid }
                  ship:
                    from: [paid, payd]
                    to: shipped
                  thaw: { from: frozen, to: frosty }
                  freeze: { from: frosty, to: frozen }
            """,
    )
    assert modules.findings() == [
        "shop/states.yaml:7: no transition reaches the status `payd`; did you mean `paid`? (namespace orders)",
        "shop/states.yaml:9: no transition reaches the status `frozen` (namespace orders)",
    ]


def test_a_mistyped_initial_is_one_finding(modules):
    """It stands where `initial` does; that nothing is reached from there follows."""
    modules.write(
        "shop",
        states="""\
            namespaces:
              orders:
                initial: pendng
                transitions:
                  pay: { from: pending, to: paid }
                  ship: { from: paid, to: shipped }
            """,
    )
    assert modules.findings() == [
        "shop/states.yaml:3: no transition leaves the status `pendng`; did you mean `pending`? (namespace orders)"
    ]


FIELDS = """\
    namespaces:
      x:
        schema:
          type: object
          additionalProperties: false
          properties:
            notes: {}
            person: { type: object, properties: { email: {} }, additionalProperties: false }
        fields:
          FIELD
"""


def test_fields_have_rules_of_their_own(modules):
    """By the path of a member, as indexes name it."""
    field = '{ notes: { read: "orders:read or actions" }, data.person.email: { write: owner } }'
    modules.write("shop", module=MODULE, states=FIELDS.replace("FIELD", field))
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.namespaces["x"].fields == (
        FieldDeclaration("notes", AccessRule(("orders:read", "actions of shop"))),
        FieldDeclaration("person.email", None, AccessRule(("owner",))),
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("note: { read: owner }", "the schema of the data has no `note`; did you mean `notes`?"),
        ("person.mail: { read: owner }", "the schema of the data has no `person.mail`; did you mean `email`?"),
        ("notes.deep: { read: owner }", "the schema of the data has no `notes.deep`"),
        ("persn.email: { read: owner }", "the schema does not say that `persn` is an object; did you mean `person`?"),
        ("status: { read: owner }", "`status` is of the object itself; a member of the data of that name is `data.status`"),
        ("person..email: { read: owner }", "`person..email` is not a path of members"),
        ("notes: {}", "`notes` says none of `read`, `write` and `export`"),
        ("notes: { raed: owner }", "unknown key `raed`"),
        ("notes: { read: orders:raed }", "no module declares the permission `orders:raed`"),
        (
            "{ person: { read: owner }, person.email: { read: public } }",
            "`person.email` lies within `person`, which has a rule too",
        ),
        (
            "{ person.email: { read: public }, person: { read: owner } }",
            "`person.email` lies within `person`, which has a rule too",
        ),
    ],
)
def test_a_rule_of_a_field_names_what_is_there(modules, field, message):
    """A name with a slip would leave the field open to all: it is an error where it stands."""
    modules.write("shop", module=MODULE, states=FIELDS.replace("FIELD", field))
    (finding,) = modules.load().findings
    assert finding.severity is Severity.ERROR
    assert finding.line == 10
    assert message in finding.message


def test_fields_of_older_versions_can_have_rules(modules):
    """Where there is data of older schema versions, a field of then may have another name."""
    states = FIELDS.replace("FIELD", "remark: { read: owner }").replace(
        "        schema:", "        schema_version: 2\n        upgrade: up\n        schema:", 1
    )
    modules.write("shop", module=MODULE, states=states)
    assert modules.load().findings == ()
