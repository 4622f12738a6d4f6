"""A Redis Cluster: the way from a key to the pipeline of the master that has its slot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from stylobate.redis.faults import RedirectedError, ScriptUnknownError, unavailable
from stylobate.redis.link import Argument, Reply
from stylobate.redis.pipeline import Pipeline
from stylobate.redis.replies import Replies, ReplyTo
from stylobate.redis.script import Script
from stylobate.redis.slots import slot_of, slot_of_command
from stylobate.redis.topology import Topology
from stylobate.resilience import backoff
from stylobate.telemetry import counter

_redirects = counter("redis_redirects", "Commands that another node of the Cluster had to be asked for.", ("kind",))

Send = Callable[[Pipeline, bool], Awaitable[Reply]]
"""Sends a command to a node; True: for a slot that it gets just now."""


class Cluster(Topology):
    """What :class:`Pipeline` is for one server, for a Cluster: every command goes to the master that has its key's slot.

    A command that a node refuses because the slot is elsewhere was not carried out, so it is sent there.
    """

    async def call(self, *arguments: Argument, within_s: float | None = None) -> Reply:
        """Send a command to where its key is. See :meth:`Pipeline.call`."""
        slot = slot_of_command(arguments)
        node = self._any() if slot is None else self._owners[slot] or self._none(slot)
        try:
            return await node.call(*arguments, within_s=within_s)
        except RedirectedError as error:
            return await self._follow(
                node,
                error,
                lambda target, asks: (target.call_asking if asks else target.call)(*arguments, within_s=within_s),
                within_s,
            )

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Send commands without keys, at least one, all to the same node. See :meth:`Pipeline.call_all`."""
        return await self._any().call_all(commands)

    async def run(
        self, script: Script, *, keys: tuple[Argument, ...], arguments: tuple[Argument, ...], within_s: float | None = None
    ) -> Reply:
        """Run a script where its keys are, which share a slot. See :meth:`Pipeline.run`."""
        if keys:
            slot = slot_of(keys[0])
            node = self._owners[slot] or self._none(slot)
        else:
            node = self._any()
        try:
            return await node.run(script, keys=keys, arguments=arguments, within_s=within_s)
        except RedirectedError as error:
            return await self._follow(
                node,
                error,
                lambda target, asks: (target.run_asking if asks else target.run)(
                    script, keys=keys, arguments=arguments, within_s=within_s
                ),
                within_s,
            )

    async def run_here(
        self, script: Script, calls: Sequence[tuple[Sequence[Argument], Sequence[Argument]]], within_s: float | None = None
    ) -> list[Reply]:
        """Run a script several times, at least once, each where its keys are, and go nowhere else where a slot is on the move.

        :returns: the replies, errors as values; a slot that moves is RedirectedError, a node that is away RedisUnavailableError.
        """
        replies, waiting = Replies(asyncio.get_running_loop(), len(calls), within_s), []
        for number, (keys, arguments) in enumerate(calls):
            node = self._owners[slot_of(keys[0])]
            if node is None:
                self.look_soon()
                replies.put(number, unavailable(f"slot {slot_of(keys[0])}: {self.cause}"))
            elif not node.send_script(ReplyTo(replies, number), script, keys, arguments):
                waiting.append(number)
        if waiting:  # for connections
            said = await asyncio.gather(*(self._run_at_owner(script, *calls[number], within_s) for number in waiting))
            for number, reply in zip(waiting, said, strict=True):
                replies.put(number, reply)
        found = await replies.all()
        for number, reply in enumerate(found):
            if isinstance(reply, ScriptUnknownError):
                found[number] = await self._run_at_owner(script, *calls[number], within_s)
            if isinstance(found[number], RedirectedError):
                self.look_soon()
        return found

    async def _run_at_owner(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], within_s: float | None
    ) -> Reply:
        slot = slot_of(keys[0])
        try:
            node = self._owners[slot] or self._none(slot)
            return await node.run(script, keys=tuple(keys), arguments=tuple(arguments), within_s=within_s)
        except Exception as error:  # noqa: BLE001  it is the answer
            return error

    async def ping(self) -> None:
        """Ask every master. Raises RedisUnavailableError where one does not answer, or slots have none."""
        if cause := self.cause:
            raise unavailable(cause)
        await asyncio.gather(*(self._nodes[node].ping() for node in self._map.counts))

    async def _follow(self, node: Pipeline, error: RedirectedError, send: Send, within_s: float | None) -> Reply:
        """Go where the nodes say, for as long as a command may take."""
        loop = asyncio.get_running_loop()
        until, pauses, asks = loop.time() + (within_s or self._timeout_s), backoff(initial=0.005, maximum=0.1), False
        while True:
            _redirects.labels(error.kind.lower()).inc()
            if error.kind == "TRYAGAIN":
                await asyncio.sleep(next(pauses))  # some of its keys are here and some there, for as long as the slot moves
            else:
                host = error.host or next((known[0] for known, one in self._nodes.items() if one is node), "")
                node, asks = self._node((host, error.port)), error.kind == "ASK"
                if not asks:
                    self._owners[error.slot] = node
                    self.look_soon()
            if loop.time() > until:
                raise unavailable(f"{error.kind}: the slot is being moved to another node")
            try:
                return await send(node, asks)
            except RedirectedError as another:
                error = another
