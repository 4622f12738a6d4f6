"""What auth keeps of the roles that accounts hold: its part of the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.role import EndedRole, HeldRole
from stylobate_auth.role_book import DefinedRole

RolesHeld = dict[tuple[str, str], tuple[str, ...]]
"""By tenant and account id."""


class RoleChanges(Protocol):
    """What a transaction does with them."""

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        """Return the roles of an account by name, also those whose end has come but that were not removed yet."""

    async def put_held_role(self, tenant: str, account_id: str, held: HeldRole) -> None:
        """Give an account a role, in place of the same role with another end."""

    async def remove_held_role(self, tenant: str, account_id: str, role: str) -> None:
        """Take a role from an account."""

    async def hold_administrators(self, tenant: str) -> set[str]:
        """Return who holds ``admin`` without an end and may log in, held against others until the transaction ends: persons only.

        Who takes the role from one, or disables one, holds them first: of two who take the last two from each other one fails.
        """

    async def end_roles(self, now: datetime, most: int) -> list[EndedRole]:
        """Remove roles whose end has come, that nobody else is removing, and return them."""

    async def hold_defined_roles(self) -> list[DefinedRole]:
        """Return the roles of the database, held against other changes of any of them until the transaction ends."""

    async def hold_roles(self, tenant: str, names: Sequence[str]) -> set[str]:
        """Return those of these that the database has; nobody removes them until the transaction ends."""

    async def put_defined_role(self, role: DefinedRole) -> None:
        """Keep a role, in place of one of its name."""

    async def remove_defined_role(self, tenant: str, name: str) -> None:
        """Remove a role, also from the accounts that hold it, with what it is granted."""

    async def change_access(self) -> None:
        """Raise the access version with this transaction: decisions that were made before end everywhere."""


class Roles(Protocol):
    """How they are read."""

    async def roles(self, subjects: Sequence[tuple[str, str]], now: datetime) -> tuple[int, RolesHeld]:
        """Return the access version, and the roles held by each subject that holds any, without those whose end has come."""

    async def defined_roles(self) -> tuple[int, list[DefinedRole]]:
        """Return the access version, and the roles of the database, of all tenants."""

    async def held_roles(self, tenant: str, account_id: str) -> list[HeldRole]:
        """Return the roles of an account as its transaction does; none of an id that is not a UUID."""

    async def next_role_end(self) -> datetime | None:
        """Return when the first role that has an end ends; None: none has."""
