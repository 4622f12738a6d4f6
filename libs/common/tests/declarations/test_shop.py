"""The example module's declarations."""

from datetime import timedelta
from pathlib import Path

from stylobate.declarations import CompiledSchema, Declarations, load_declarations
from stylobate.declarations.model import AccessRule

_MODULES = Path(__file__).parents[4] / "modules"


def shop() -> Declarations:
    """Load the example."""
    return load_declarations(str(_MODULES / "shop"))


def test_the_shop_has_no_findings():
    """The example that people copy is clean, warnings included."""
    assert shop().findings == ()
    assert [module.name for module in shop().modules] == ["shop"]


def test_the_shop_declares_its_contract():
    """Actions, limit, statuses, access and channel are those that clients rely on."""
    declarations = shop()
    verbs = ("place_order", "pay_order", "ship_order", "cancel_order", "replace_order", "orders_to_ship")
    assert set(declarations.actions) == {f"shop.{verb}" for verb in verbs}
    place = declarations.actions["shop.place_order"]
    assert place.rate_limit.limit == 30
    assert place.rate_limit.period == timedelta(minutes=1)
    assert place.rate_limit.algorithm == "window"
    orders = declarations.namespaces["orders"]
    assert orders.statuses == ("cancelled", "paid", "pending", "shipped")
    assert set(orders.transitions) == {"pay", "ship", "cancel"}
    assert orders.access.read == AccessRule(("orders:read", "owner"))
    assert declarations.channels["orders"].subscribe == "state:orders"
    assert "orders:create" in declarations.roles["user"]


def test_the_shop_takes_orders_of_any_sku_and_nothing_else():
    """Input of an order is checked, unknown parameters are refused, text is not taken for a number."""
    schema = CompiledSchema(shop().actions["shop.place_order"].input)
    assert schema.is_valid({"items": [{"sku": "anything at all", "quantity": 2}]})
    for wrong in (
        {},
        {"items": []},
        {"items": [{"sku": "a"}]},
        {"items": [{"sku": "a", "quantity": 0}]},
        {"items": [{"sku": "a", "quantity": "1"}]},
        {"items": [{"sku": "a", "quantity": 1}], "total": 1},
    ):
        assert not schema.is_valid(wrong), wrong
