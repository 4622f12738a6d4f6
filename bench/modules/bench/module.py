"""The module that the benchmarks call."""

from typing import Any

from stylobate.modules import ActionContext, BaseModule


class BenchModule(BaseModule):
    """One action."""

    async def price(self, ctx: ActionContext, order: dict[str, Any]) -> dict[str, int]:  # noqa: ARG002  an action gets one
        """Return what an order costs: a thousand a piece."""
        return {"lines": len(order["items"]), "total": 1000 * sum(item["quantity"] for item in order["items"])}
