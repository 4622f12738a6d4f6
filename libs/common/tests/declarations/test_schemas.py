"""Schemas and their references."""

import pytest
from stylobate.declarations import CompiledSchema

ACTION = "actions:\n  shop.pay:\n    handler: pay\n    access: public\n    input: { $ref: '#/schemas/Order' }\nschemas:\n"


def test_references_become_definitions_inside(modules):
    """A resolved schema stands alone, with exactly the definitions it reaches, under names for OpenAPI."""
    modules.write(
        "shop",
        actions=ACTION
        + """
  Order: { type: object, properties: { items: { type: array, items: { $ref: "#/schemas/Item" } } } }
  Item: { type: object, required: [sku], properties: { parts: { $ref: "#/schemas/Items" }, sku: { type: string } } }
  Items: { type: array, items: { $ref: "#/schemas/Item" } }
  Unused: { type: object }
""",
    )
    schema = modules.load().actions["shop.pay"].input
    assert schema["$ref"] == "#/$defs/shop.Order"
    assert set(schema["$defs"]) == {"shop.Order", "shop.Item", "shop.Items"}
    compiled = CompiledSchema(schema)
    assert compiled.is_valid({"items": [{"sku": "a", "parts": [{"sku": "b"}]}]})
    (violation,) = compiled.violations({"items": [{"sku": "a", "parts": [{}]}]})
    assert (violation.pointer, violation.detail) == ("/items/0/parts/0/sku", "is missing")


def test_states_and_settings_refer_to_actions_yaml(modules):
    """`actions.yaml#/schemas/X` is the same schema from any file of the module."""
    modules.write(
        "shop",
        module="name: shop\nsettings: { type: object, properties: { first: { $ref: 'actions.yaml#/schemas/Order' } } }\n",
        actions="schemas:\n  Order: { type: integer }\n",
        states="namespaces:\n  orders:\n    schema: { $ref: 'actions.yaml#/schemas/Order' }\n",
    )
    declarations = modules.load()
    assert declarations.findings == ()
    assert declarations.namespaces["orders"].schema == {
        "$ref": "#/$defs/shop.Order",
        "$defs": {"shop.Order": {"type": "integer"}},
    }
    assert declarations.modules[0].settings_schema["properties"] == {"first": {"$ref": "#/$defs/shop.Order"}}


def test_a_property_may_be_called_like_a_keyword(modules):
    """Names of properties, and values in const and examples, are not keywords."""
    modules.write(
        "shop",
        actions=ACTION + "  Order:\n    properties: { $ref: { type: string }, kind: { const: { $ref: 1, requird: 2 } } }\n",
    )
    assert modules.load().findings == ()
    assert modules.load().actions["shop.pay"].input["$defs"]["shop.Order"]["properties"]["kind"] == {
        "const": {"$ref": 1, "requird": 2}
    }


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{ type: objekt }", "no valid JSON Schema: `properties.a.type`"),
        ("{ minimum: x }", "no valid JSON Schema: `properties.a.minimum`"),
        ("{ pattern: '(' }", "no valid JSON Schema: `properties.a.pattern`"),
        ("{ requird: [a] }", "`requird` is not a keyword of JSON Schema; did you mean `required`?"),
        ("{ $ref: '#/schemas/Ordr' }", "there is no schema `Ordr` in actions.yaml; did you mean `Order`?"),
        ("{ $ref: 'http://127.0.0.1/x' }", "`$ref` must be `#/schemas/<Name>`"),
        ("{ $ref: 3 }", "`$ref` must be `#/schemas/<Name>`"),
        ("{ $id: 'x' }", "`$id` is not taken here"),
        ("{ $defs: {} }", "`$defs` is not taken here"),
        ("{ $schema: 'http://json-schema.org/draft-07/schema#' }", "`$schema` can only be"),
        ("{ items: [{}] }", "a JSON Schema must be a mapping"),
        ("text", "a JSON Schema must be a mapping"),
    ],
)
def test_a_wrong_schema_is_a_finding_at_its_line(findings_of, schema, message):
    """A named schema is checked against 2020-12 whether anything uses it or not, and reported once."""
    (finding,) = findings_of(actions=f"{ACTION}  Order: {{}}\n  Wrong:\n    properties:\n      a:\n        {schema}\n")
    assert finding.startswith("shop/actions.yaml:11: ")
    assert message in finding


def test_a_schema_nested_without_end_is_a_finding(findings_of):
    """Depth is bounded, so that a generated file cannot exhaust the stack."""
    (finding,) = findings_of(actions="schemas:\n  Deep: " + "{ not: " * 60 + "{}" + " }" * 60 + "\n")
    assert "nested more than 50 deep" in finding


def test_violations_name_every_fault_and_no_value():
    """All faults at once, at JSON pointers, without repeating what the caller sent."""
    schema = CompiledSchema(
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["mail"],
            "properties": {"a/b~c": {"type": "integer"}, "mail": {"type": "string", "format": "email"}},
        }
    )
    assert schema.violations({"mail": "a@b.example"}) == ()
    found = {violation.pointer: violation.detail for violation in schema.violations({"a/b~c": "secret", "mail": "no", "x": 1})}
    assert set(found) == {"/a~1b~0c", "/mail", "/x"}
    assert "secret" not in " ".join(found.values())


def test_violations_are_bounded():
    """Thousands of faults do not become thousands of sentences."""
    schema = CompiledSchema({"type": "array", "items": {"type": "integer"}})
    assert len(schema.violations(["x"] * 5000)) == 100


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"$ref": "http://127.0.0.1:1/x"}, {"$ref": "#/$defs/x"}])
def test_a_schema_that_cannot_be_compiled_raises(schema):
    """A bad schema, also one that would have to be fetched, is a ValueError at once and not at the first request."""
    with pytest.raises(ValueError, match=r".+"):
        CompiledSchema(schema)
