"""``indexes`` in states.yaml."""

import pytest
from stylobate.declarations.model import IndexDeclaration, IndexField

STATES = """\
namespaces:
  orders:
    schema:
      type: object
      additionalProperties: false
      properties:
        total: { type: integer }
        note: { type: [string, "null"] }
        at: { anyOf: [{ type: string, format: date-time }, { type: "null" }] }
        size: { enum: [1, 2.5] }
        items: { type: array }
        any: { type: [string, integer] }
        status: { type: string }
        who: { type: object, properties: { email: { const: x }, open: {} } }
    initial: pending
    access: { read: owner, write: owner }
    transitions:
      pay: { from: pending, to: paid }
    indexes:
"""
FIRST = STATES.count("\n") + 1


def indexes_of(modules, *lines: str):
    """Return the indexes of a namespace that declares them so."""
    modules.write("shop", states=STATES + "".join(f"      - {line}\n" for line in lines))
    declarations = modules.load()
    assert declarations.findings == ()
    return declarations.namespaces["orders"].indexes


def test_fields_have_the_kinds_of_the_schema(modules):
    """Numbers, texts, times and booleans of the data, also where null is allowed; and what every object has by itself."""
    fields = indexes_of(
        modules,
        "{ fields: [total, note, at] }",
        "{ fields: [size, who.email, data.status] }",
        "{ fields: [status, created_at, owner], where: { status: [paid, pending] } }",
        "{ fields: [data.total, updated_at], where: { status: paid } }",
        "{ fields: [owner], unique: true }",
    )
    assert fields == (
        IndexDeclaration((IndexField("total", "number"), IndexField("note", "text"), IndexField("at", "time"))),
        IndexDeclaration((IndexField("size", "number"), IndexField("who.email", "text"), IndexField("data.status", "text"))),
        IndexDeclaration(
            (IndexField("status", "text"), IndexField("created_at", "time"), IndexField("owner", "text")),
            statuses=("paid", "pending"),
        ),
        IndexDeclaration((IndexField("total", "number"), IndexField("updated_at", "time")), statuses=("paid",)),
        IndexDeclaration((IndexField("owner", "text"),), is_unique=True),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{ fields: [totl] }", "the schema of the data has no `totl`; did you mean `total`?"),
        ("{ fields: [who.mail] }", "the schema of the data has no `who.mail`; did you mean `email`?"),
        ("{ fields: [statu] }", "the schema of the data has no `statu`; did you mean `status`?"),
        (
            "{ fields: [items] }",
            "`items` cannot be indexed: its schema must say that it is a text, a number, a boolean or a date-time",
        ),
        ("{ fields: [any] }", "`any` cannot be indexed"),
        ("{ fields: [who.open] }", "`who.open` cannot be indexed"),
        ("{ fields: [total, note, at, size] }", "an index has at most 3 fields"),
        ("{ fields: [total, total] }", "`total` stands twice in `fields`"),
        ("{ fields: [] }", "`fields` names no field"),
        ("{ unique: true }", "`fields` is missing"),
        ("{ fields: [total], unique: 1 }", "`unique` must be true or false"),
        ("{ fields: [created_at], unique: true }", "`created_at` cannot be part of a `unique` index"),
        ("{ fields: [total], where: { status: [lost] } }", "the namespace has no status `lost`"),
        ("{ fields: [total], where: {} }", "`where` must say `status`"),
        ("{ fields: [total], where: { total: 1 } }", "unknown key `total`"),
        ("{ fields: [total], kind: hash }", "unknown key `kind`"),
        ("total", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_found_at_its_line(findings_of, line, message):
    """Each with file and line; the index beside it is not blamed."""
    findings = findings_of(states=STATES + f"      - {{ fields: [note] }}\n      - {line}\n")
    assert any(finding.startswith(f"shop/states.yaml:{FIRST + 1}: ") and message in finding for finding in findings), findings
    assert all(f":{FIRST}:" not in finding for finding in findings)


def test_an_index_that_stands_twice_is_found(findings_of):
    """Under whichever name its fields are given."""
    (finding,) = findings_of(states=STATES + "      - { fields: [total] }\n      - { fields: [data.total] }\n")
    assert finding.startswith(f"shop/states.yaml:{FIRST + 1}: this index stands in line {FIRST} already")


def test_data_without_a_schema_cannot_be_indexed(findings_of):
    """What no schema describes has no kind; what every object has can be indexed all the same."""
    states = (
        "namespaces:\n  n:\n    access: { read: owner }\n    indexes:\n      - { fields: [owner] }\n      - { fields: [x] }\n"
    )
    (finding,) = findings_of(states=states)
    assert finding.startswith("shop/states.yaml:6: `x` cannot be indexed: the namespace has no `schema`")
