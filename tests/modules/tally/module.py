"""What accounts hold."""

from stylobate.modules import BaseModule, Event, View


class Module(BaseModule):
    """Sums up entries by account."""

    async def sum_up(self, view: View, event: Event) -> None:
        """Count an event once, and take an entry as it is now."""
        told = event.value()
        if told["data"] is None:  # deleted: which account it was is known from the entry's own object
            account = (await view.get(f"of-{event.subject}"))["account"]
            await view.delete(f"of-{event.subject}")
        else:
            account = told["data"]["account"]
            if told["data"]["amount"] < 0:
                raise ValueError("an entry is not negative")
            await view.put(f"of-{event.subject}", {"account": account})
        balance = await view.get(account) or {"changes": 0, "entries": {}}
        balance["changes"] += 1
        balance["entries"].pop(event.subject, None)
        if told["data"] is not None:
            balance["entries"][event.subject] = told["data"]["amount"]
        balance["sum"] = sum(balance["entries"].values())
        await view.put(account, balance, owner=event.actor)
