"""The working half of a connection: requests begin when it is their turn, or are refused for want of one."""

import asyncio
from abc import abstractmethod
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from stylobate.app import http_rules as rules
from stylobate.app.http_reading import HttpReading
from stylobate.app.request_turns import ADMITTED, Turn
from stylobate.http.problem import bare_answer, whole_answer
from stylobate.ids import new_id


class HttpWorking(HttpReading):
    """Between reading and answering; :class:`~stylobate.app.http_protocol.HttpProtocol` is the whole."""

    _answered: RequestResponseCycle | None = None
    """What the application is busy with; :attr:`cycle` is what was read last."""
    _running = 0
    _waiting: RequestResponseCycle | None = None
    """What waits for its turn."""
    _is_known = False
    """Whether a request was admitted on it."""

    @abstractmethod
    def check(self, now: float) -> None:
        """End the connection when a deadline of it has passed."""

    @property
    def is_working(self) -> bool:
        """Return whether the application is busy with what was asked, or a request waits for its turn."""
        return self._running > 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let the request begin, at once or when its turn comes."""
        turns = self._register.requests
        turn = turns.take(is_known=self._is_known)
        if turn is not None:
            if not self._begin(cycle, app, turn):
                turn.end()
        elif turns.wait(
            self._register.whose(self),
            partial(self._begin_late, cycle, app),
            partial(self._refuse_late, cycle),
            is_known=self._is_known,
        ):
            self._running += 1  # what waits is kept, so it counts
            self._waiting = cycle
        else:
            self._answer_overloaded(cycle)

    def _begin(self, cycle: RequestResponseCycle, app: Any, turn: Turn) -> bool:
        """Run the application, which may say when it has admitted the request; False when nobody waits for the answer."""
        if self.transport.is_closing():
            return False
        scope: Any = cycle.scope
        scope[ADMITTED] = turn.admit if self._is_known else partial(self._become_known, turn)
        self._answered = cycle
        self._running += 1
        # named: a name that is made up is written anew for each
        turn.task = asyncio.Task(self._work(cycle, app, turn), loop=self.loop, name="request")
        self.tasks.add(turn.task)
        return True

    async def _work(self, cycle: RequestResponseCycle, app: Any, turn: Turn) -> None:
        scope: Any = cycle.scope
        try:
            await cycle.run_asgi(app)
        finally:  # here and not by a callback of the task, which costs a turn of the loop
            self._end_work(scope, turn)

    def _begin_late(self, cycle: RequestResponseCycle, app: Any, turn: Turn) -> bool:
        """Do the same for a request that has waited for its turn."""
        self._running -= 1
        self._waiting = None
        has_begun = self._begin(cycle, app, turn)
        if not self._running:
            self._register.has_ended_work(self)
        return has_begun

    def _refuse_late(self, cycle: RequestResponseCycle) -> None:
        """Refuse a request that has waited for its turn in vain."""
        self._running -= 1
        self._waiting = None
        if not self._running:
            self._register.has_ended_work(self)
        if not self.transport.is_closing():
            self._answer_overloaded(cycle)

    def give_up(self) -> bool:
        """Let go of the connection, since there are too many of strangers; a request that waits for its turn is refused.

        False: one is about to be admitted.
        """
        waiting, self._waiting = self._waiting, None
        if self.cycle is None or self._is_in_body or self.transport.is_closing():
            self.end("crowd")
        elif waiting is not None:
            self._register.cut("crowd")
            self._register.requests.count_refused(1)
            waiting.keep_alive = False
            self._answer_overloaded(waiting)
        elif self._running:
            return False
        else:  # what it was answered may still be on its way
            self._register.cut("crowd")
            self.transport.close()
        return True

    def _answer_overloaded(self, cycle: RequestResponseCycle) -> None:
        """Refuse a request in as few steps as there are; the connection stays, unless there are many of strangers."""
        cycle.response_started = cycle.response_complete = True
        scope: Any = cycle.scope
        is_head = scope["method"] == "HEAD"
        is_last = not cycle.keep_alive or (not self._is_known and self._register.strangers.are_many)
        is_enough, told = self._register.turned_away(scope)
        fields, request_id = [*self.server_state.default_headers, *told], new_id()
        if is_enough:
            answer = bare_answer(fields, request_id=request_id, is_last=is_last)
        else:
            where = scope["raw_path"].decode("ascii")
            answer = whole_answer(rules.TOO_MUCH, fields, request_id=request_id, instance=where, is_head=is_head, is_last=is_last)
        self.transport.write(answer)
        if is_last:
            self.transport.close()
        cycle.on_response()

    def _become_known(self, turn: Turn) -> None:
        self._is_known = True
        self._register.strangers.remove(self._register.whose(self), self)
        turn.admit()

    def _end_work(self, scope: dict[str, Any], turn: Turn) -> None:
        if turn.task is not None:
            self.tasks.discard(turn.task)
            turn.task = None
        scope.pop(ADMITTED, None)  # it leads back to us: only the collector would part what holds each other
        turn.end()
        self._running -= 1
        if not self._running:
            self._register.has_ended_work(self)
