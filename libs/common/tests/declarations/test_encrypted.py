"""`encrypted_fields` in states.yaml: what they may be, and what may not ask for them."""

import pytest

MODULE = "name: shop\n"
PEOPLE = """\
namespaces:
  people:
    schema:
      type: object
      properties:
        name: { type: string }
        ssn: { type: string }
        bank: { type: object, properties: { iban: { type: string }, branch: { type: integer } } }
      additionalProperties: false
    initial: open
    access: { read: owner, write: owner }
    encrypted_fields: [ssn, bank.iban]
"""


def test_they_are_read(modules):
    """By their one name, as in indexes."""
    modules.write("shop", module=MODULE, states=PEOPLE.replace("[ssn,", "[data.ssn,"))
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.namespaces["people"].encrypted == ("ssn", "bank.iban")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("[sn]", "the schema of the data has no `sn`; did you mean `ssn`?"),
        ("[owner]", "`owner` is of the object itself"),
        ("[bank, bank.iban]", "`bank.iban` and `bank` lie within each other"),
        ("[ssn, ssn]", "`ssn` stands twice"),
        ("ssn", "`encrypted_fields` must be a list of texts"),
    ],
)
def test_what_names_no_field_is_refused(findings_of, fields, message):
    """At its line."""
    findings = findings_of(module=MODULE, states=PEOPLE.replace("[ssn, bank.iban]", fields))
    assert findings[0].startswith("shop/states.yaml:12: ")
    assert message in findings[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("    indexes: [{ fields: [ssn] }]", "`ssn` is encrypted: no index can hold it"),
        ("    indexes: [{ fields: [name] }, { fields: [name, bank.iban], unique: true }]", "`bank.iban` is encrypted"),
        (
            "    transitions: { close: { from: open, to: closed, guard: data.ssn != '' } }",
            "asks for `ssn`",
        ),
        ('    transitions: { close: { from: open, to: closed, guard: \'data["ssn"] != ""\' } }', "asks for `ssn`"),
        ("    transitions: { close: { from: open, to: closed, guard: has(data.bank) } }", "asks for `bank.iban`"),
        ("    transitions: { close: { from: open, to: closed, data: [ssn], guard: event.data.ssn != '' } }", "asks for `ssn`"),
    ],
)
def test_what_would_have_to_see_them_is_refused(findings_of, more, message):
    """Indexes, unique ones too, and guards."""
    (finding,) = findings_of(module=MODULE, states=PEOPLE + more + "\n")
    assert finding.startswith("shop/states.yaml:13: ")
    assert message in finding


def test_other_fields_may_be_asked_for(modules):
    """A guard that reads a neighbour, or speaks of the field in a text, is one."""
    guard = "transitions: { close: { from: open, to: closed, guard: \"data.bank.branch > 1 && data.name != 'data.ssn'\" } }"
    modules.write("shop", module=MODULE, states=f"{PEOPLE}    indexes: [{{ fields: [bank.branch] }}]\n    {guard}\n")
    assert modules.load().findings == ()


def test_each_owner_can_have_a_key(modules):
    """Where the namespace says what becomes of objects whose owner's account is deleted."""
    modules.write("shop", module=MODULE, states=f"{PEOPLE}    encryption: per_owner\n    on_owner_deleted: delete\n")
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.namespaces["people"].per_owner


@pytest.mark.parametrize(
    ("states", "line", "message"),
    [
        (f"{PEOPLE}    encryption: per_user\n", 13, "must be per_namespace or per_owner; did you mean `per_owner`?"),
        (f"{PEOPLE}    encryption: per_owner\n", 13, "say `on_owner_deleted`, anonymize or delete"),
        (f"{PEOPLE}    encryption: per_owner\n    on_owner_deleted: keep\n", 13, "say `on_owner_deleted`"),
        (
            PEOPLE.replace("      type: object\n", "      type: object\n      required: [ssn, bank]\n")
            + "    encryption: per_owner\n    on_owner_deleted: anonymize\n",
            13,
            "`ssn` is required by the schema, and goes with the account",
        ),
        ("namespaces:\n  people:\n    encryption: per_owner\n    on_owner_deleted: delete\n", 3, "`encrypted_fields` names none"),
        (f"{PEOPLE}    encryption: per_owner\n    durability: ephemeral\n    ttl: 1h\n", 13, "cannot have `encryption`"),
    ],
)
def test_a_key_for_each_owner_that_could_not_go_is_refused(findings_of, states, line, message):
    """At its line, and once."""
    findings = findings_of(module=MODULE, states=states)
    assert any(one.startswith(f"shop/states.yaml:{line}: ") and message in one for one in findings), findings
