"""actions.yaml."""

from datetime import timedelta

import pytest
from stylobate.declarations import CompiledSchema
from stylobate.declarations.model import AccessRule, RateLimit

MODULE = """\
name: shop
permissions:
  "orders:create": Place orders
"""


def test_an_action_is_read_with_everything_it_says(modules):
    """Every key of an action arrives in its declaration, with file and line."""
    modules.write(
        "shop",
        module=MODULE,
        actions="""\
            actions:
              shop.place_order:
                summary: Place an order
                handler: place_order
                route: POST /orders
                access: orders:create
                resource: state/orders/{total}
                rate_limit: 30/minute
                timeout: 500ms
                input: { $ref: "#/schemas/Order" }
                output: { type: object }
            schemas:
              Order: { type: object, required: [total], properties: { total: { type: integer } } }
            """,
    )
    declarations = modules.load()
    assert declarations.findings == ()
    action = declarations.actions["shop.place_order"]
    assert (action.module, action.handler, action.summary) == ("shop", "place_order", "Place an order")
    assert (action.route, action.access) == ("POST /orders", AccessRule(("orders:create",)))
    assert str(action.resource) == "state/orders/{total}"
    assert action.rate_limit == RateLimit(30, timedelta(minutes=1), "window", 0, "30/minute")
    assert action.timeout == timedelta(milliseconds=500)
    assert (action.file, action.line) == (f"{modules.folder}/shop/actions.yaml", 2)
    assert CompiledSchema(action.input).is_valid({"total": 3})
    assert not CompiledSchema(action.input).is_valid({})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("guard: data.total > 0", "`guard` is not supported yet"),
        ("do: [pay]", "`do` is not supported yet"),
        ("idempotent: maybe", "`idempotent` must be true or false"),
        ("resource: state/orders/{order_id}", "says what the permission in `access` may be granted on, and there is none"),
        ("resource: state/orders/", "does not end with a member of the input; write `state/orders/{order_id}`"),
        ("resource: '{order_id}'", "does not end with a member of the input"),
        ("resource: 'state/{order_id}'", "must end with `/` where all objects of the namespace are meant"),
        ("resource: 'state/orders/a/{order_id}'", "of a state object are"),
        ("http: http://other", "`http` is not supported yet"),
        ("grpc: other", "`grpc` is not supported yet"),
        ("sumary: Pay", "unknown key `sumary` in action shop.pay; did you mean `summary`?"),
        ("route: POST /v1/orders", "/v1 belongs to the platform"),
        ("route: POST /v1", "/v1 belongs to the platform"),
        ("route: GET /oauth2/x", "/oauth2 belongs to the platform"),
        ("route: GET /.well-known/x", "/.well-known belongs to the platform"),
        ("route: GET /docs", "/docs belongs to the platform"),
        ("route: GET /openapi.json", "/openapi.json belongs to the platform"),
        ("route: GET /healthz", "/healthz belongs to the platform"),
        ("route: GET /connection/websocket", "/connection belongs to the platform"),
        ("route: POST /emulation", "/emulation belongs to the platform"),
        ("route: POST /orders/{id", "is neither a name nor a parameter"),
        ("route: POST /", "must be a plain path"),
        ("route: FETCH /orders", "'FETCH' is not one of GET"),
        ("route: /orders", "is not a route; write `POST /orders`"),
        ("rate_limit: 30 per minute", "is not a rate limit"),
        ("rate_limit: 5000/hour", "an exact window counts at most 1000; write `5000/hour gcra`"),
        ("timeout: 5", "`timeout`: 5 has no unit; write `5s`"),
        ('timeout: "5"', "`timeout`: '5' has no unit; write `5s`"),
        ("rate_limit: 30", "`rate_limit`: 30 has no unit; write `30/minute`"),
        ("timeout: 0s", "must be more than nothing"),
        ("input: [1]", "a JSON Schema must be a mapping, true or false"),
    ],
)
def test_a_wrong_key_is_a_finding_at_its_line(findings_of, line, message):
    """What nothing carries out, what is misspelt and what makes no sense is named where it stands."""
    (finding,) = findings_of(actions=f"actions:\n  shop.pay:\n    handler: pay\n    access: public\n    {line}\n")
    assert finding.startswith("shop/actions.yaml:5: ")
    assert message in finding


def test_an_action_is_not_open_by_default(findings_of):
    """Access and handler have no default."""
    assert findings_of(actions="actions:\n  shop.pay: {}\n") == [
        "shop/actions.yaml:2: `handler` is missing in action shop.pay",
        "shop/actions.yaml:2: `access` is missing in action shop.pay",
    ]


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ("owner", "`owner` has no meaning here"),
        ("orders:create or public", "is one permission, `public` or `authenticated`"),
        ("everyone", "'everyone' is neither a permission"),
    ],
)
def test_access_of_an_action_is_one_term(findings_of, access, message):
    """An action has no owner, and its rule is one term."""
    (finding,) = findings_of(module=MODULE, actions=f"actions:\n  shop.pay:\n    handler: pay\n    access: {access}\n")
    assert finding.startswith("shop/actions.yaml:4: ")
    assert message in finding


@pytest.mark.parametrize("handler", ["{ http: 'http://other/pay' }", "'grpc://other/pay'"])
def test_a_handler_in_another_language_is_refused(findings_of, handler):
    """A handler over HTTP or gRPC says that it is not supported yet, not something about names."""
    (finding,) = findings_of(actions=f"actions:\n  shop.pay:\n    handler: {handler}\n    access: public\n")
    assert finding.startswith("shop/actions.yaml:3: a handler outside of Python is not supported yet")


@pytest.mark.parametrize("name", ["pay", "store.pay", "shop.Pay", "shop.", "shop.pay.now"])
def test_an_action_stands_under_its_module(findings_of, name):
    """Names of actions begin with the module, so that two modules cannot take each other's."""
    (finding,) = findings_of(actions=f"actions:\n  {name}: {{ handler: pay, access: public }}\n")
    assert finding == f"shop/actions.yaml:2: '{name}' must be `shop.<name>` in lower case letters, digits and _"


def test_schedules_are_refused(findings_of):
    """A section that nothing carries out yet is refused, not read over."""
    assert findings_of(actions="schedules: []\n") == ["shop/actions.yaml:1: `schedules` is not supported yet (actions.yaml)"]
