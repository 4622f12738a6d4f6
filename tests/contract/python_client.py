"""What an application writes over the generated client: it must hold under mypy --strict, and see the code of every refusal."""

from generated import AuthenticatedClient, Client
from generated.api.accounts import register
from generated.api.shop import shop_place_order_route
from generated.api.state import get_object, list_objects
from generated.models import AccountsProblem409, Register, Registered, ShopOrder, StateList, StateObject
from generated.models.shop_item import ShopItem
from generated.models.shop_place_order import ShopPlaceOrder


def journey(stranger: Client, client: AuthenticatedClient) -> str:
    """Register, order, read."""
    made = register.sync(client=stranger, body=Register(email="ada@example.com", password="correct horse battery"))
    if isinstance(made, AccountsProblem409):
        taken: str = made.code
        return taken
    if made is None or not isinstance(made, Registered):
        return "" if made is None else str(made.code)
    placed = shop_place_order_route.sync(client=client, body=ShopPlaceOrder(items=[ShopItem(sku="tea", quantity=1)]))
    if not isinstance(placed, ShopOrder):
        return "" if placed is None else str(placed.code)
    read = get_object.sync("orders", placed.id, client=client, if_none_match='"1"')
    if isinstance(read, StateObject):
        return f"{read.version}"
    listed = list_objects.sync("orders", client=client, page_size=10)
    return listed.items[0].key if isinstance(listed, StateList) else made.user.id
