"""Batches apart for each store: nobody waits for a store that keeps nothing of his."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

from stylobate.batching import Batcher

from stylobate_state.store.port import StateStore

T = TypeVar("T")
R = TypeVar("R")


class Lanes(Generic[T, R]):
    """A Batcher for each store that keeps any of the namespaces.

    :param make: makes the Batcher of a store.
    """

    def __init__(self, store: StateStore, namespaces: Iterable[str], make: Callable[[StateStore], Batcher[T, R]]) -> None:
        made: dict[StateStore, Batcher[T, R]] = {}
        self._by_namespace: dict[str, Batcher[T, R]] = {}
        for namespace in namespaces:
            part = store.part(namespace)
            if part not in made:
                made[part] = make(part)
            self._by_namespace[namespace] = made[part]
        self._batchers = tuple(made.values())
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open them."""
        for batcher in self._batchers:
            await self._stack.enter_async_context(batcher)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish what is under way and waiting."""
        await self._stack.aclose()

    def of(self, namespace: str) -> Batcher[T, R]:
        """Return that of a namespace's store."""
        return self._by_namespace[namespace]
