"""What a client asks for, carried out in order: each command after the one before."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from stylobate.http.errors import OverloadedError
from stylobate.logs import get_logger
from stylobate.rpc.call import Call, current_call

from stylobate_realtime import codes
from stylobate_realtime.codes import CommandRefusedError, SessionEndedError
from stylobate_realtime.protocol import MalformedFrameError
from stylobate_realtime.protocol.messages import Command, Error, Reply
from stylobate_realtime.session_context import ClientSocket, SessionContext, State

if TYPE_CHECKING:
    from stylobate_realtime.session import ClientSession

_log = get_logger("app")
_PONG = Command()
_BYTES = 32_768
_OVERHEAD = 64
"""Bytes that a waiting message costs beside its own."""
_ERRORS = 256
_ERRORS_WITHIN_S = 10.0
"""A client that is refused more often within this time is closed."""


class Inbox:
    """The messages that wait for those before them. They wait as bytes: decoded they would be ten times as large."""

    __slots__ = ("_payloads", "_size")

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._size = 0

    def __bool__(self) -> bool:
        """Whether any wait."""
        return bool(self._payloads)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self._size > _BYTES

    def push(self, payload: bytes) -> None:
        """Add a message."""
        self._payloads.append(payload)
        self._size += len(payload) + _OVERHEAD

    def pop(self) -> bytes:
        """Take the next one."""
        payload = self._payloads.popleft()
        self._size -= len(payload) + _OVERHEAD
        return payload


class CommandQueue:
    """The messages of one session that wait, and the task that carries them out."""

    __slots__ = ("_connection", "_context", "_errors", "_errors_since", "_inbox", "_is_reading", "_session", "worker")

    def __init__(self, session: "ClientSession", context: SessionContext, connection: ClientSocket) -> None:
        self._session = session
        self._context = context
        self._connection = connection
        self._inbox: Inbox | None = None  # made when a message must wait: most sessions are idle
        self._is_reading = True
        self._errors = 0
        self._errors_since = 0.0
        self.worker: asyncio.Task[None] | None = None
        """Carries out commands; None while there are none."""

    def push(self, payload: bytes) -> None:
        """Take a message. While too much waits the socket is not read any further."""
        if self._inbox is None:
            self._inbox = Inbox()
        self._inbox.push(payload)
        if self.worker is None:
            self.worker = self._context.loop.create_task(self._work(self._inbox))
        if self._is_reading and self._inbox.is_full:
            self._is_reading = False
            self._connection.set_reading(False)

    async def _work(self, inbox: Inbox) -> None:
        session = self._session
        current_call.set(Call(client_address=session.address, client_agent=session.agent))  # in this task alone
        turn = None
        try:
            if session.state is State.NEW:
                turn = await self._context.openings.turn(session.address)
            while inbox and session.state is not State.CLOSED:
                await self._carry_out(inbox.pop())
        except OverloadedError:
            session.end(codes.OVERLOADED)
        finally:
            if turn is not None:
                turn.end()
            self.worker = None
            self._inbox = None
            if not self._is_reading and session.state is not State.CLOSED:
                self._is_reading = True
                self._connection.set_reading(True)

    async def _carry_out(self, payload: bytes) -> None:
        """Carry out the commands of a message, each decoded when its turn comes."""
        session = self._session
        try:
            for command in session.codec.decode(payload):
                await self._run(command)
                if session.state is State.CLOSED:
                    return
                if session.has_much_to_send:  # long answers are not heaped up while commands follow each other
                    session.flush()
                    await asyncio.sleep(0)
        except MalformedFrameError:
            session.end(codes.MALFORMED)

    async def _run(self, command: Command) -> None:
        session = self._session
        if command == _PONG:
            session.pong()
            return
        if command.id == 0 and command.send is None:
            session.end(codes.MALFORMED)
            return
        if session.state is State.REFUSED:
            session.end(codes.MALFORMED)
            return
        try:
            await self._context.handler.run(session, command)
        except CommandRefusedError as refusal:
            self._refuse(command, refusal.error)
        except SessionEndedError as ending:
            session.end(ending.disconnect)
        except Exception:  # noqa: BLE001  a defect: logged here, and its text stays here
            _log.exception("realtime_command_failed", client=session.client)
            self._refuse(command, codes.INTERNAL)

    def _refuse(self, command: Command, error: Error) -> None:
        session = self._session
        if not self.bears_misuse():
            return
        if command.id:
            session.reply(Reply(id=command.id, error=error))
        if session.state is State.NEW:
            session.state = State.REFUSED

    def bears_misuse(self) -> bool:
        """Count a command that was refused or senseless; False when too many have ended the session."""
        session = self._session
        now = self._context.clock()
        if now - self._errors_since > _ERRORS_WITHIN_S:
            self._errors, self._errors_since = 0, now
        self._errors += 1
        if self._errors > _ERRORS:
            session.end(codes.TOO_MANY_ERRORS)
        return self._errors <= _ERRORS
