"""A FastAPI endpoint with a pydantic body: no caller, no limits, no audit."""

from fastapi import FastAPI
from pydantic import BaseModel, Field

application = FastAPI()


class Item(BaseModel):
    """So many of one thing."""

    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(ge=1, le=1000)


class Order(BaseModel):
    """What a customer wants."""

    items: list[Item] = Field(min_length=1, max_length=100)


@application.post("/orders")
async def place(order: Order) -> object:
    """Price an order."""
    return {"lines": len(order.items), "total": 1000 * sum(item.quantity for item in order.items)}
