"""Maps what a servicer raises to the status that the caller gets."""

import asyncio
from typing import Never

import grpc.aio

from stylobate.errors import InternalError, StylobateError
from stylobate.logs import get_logger
from stylobate.rpc.call import call as served_call
from stylobate.rpc.method import Behaviour, Context, Method
from stylobate.rpc.outages import Outages
from stylobate.rpc.status import DETAILS_KEY, NO_RETRY, to_status
from stylobate.rpc.streams import StreamEndedError

_log = get_logger("app")


class ErrorsInterceptor:
    """A StylobateError crosses with its details. Anything else is a defect: logged here, answered INTERNAL without its text.

    An error that says that something is unavailable is logged where it was made, with its cause.
    """

    def __init__(self) -> None:
        self._outages = Outages("rpc_unavailable")

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that raises nothing but the end of its call."""
        domain, name, outages = method.domain, method.full_name, self._outages

        async def behaviour(data: bytes, context: Context) -> bytes:
            try:
                return await inner(data, context)
            except StylobateError as error:
                failed = error
            except (grpc.aio.AbortError, grpc.aio.InternalError):
                raise  # ended already: aborted by whoever holds the context, or the caller is gone
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise  # by the caller, the deadline or the server
                failed = _unexpected(name, error)
            except Exception as error:  # noqa: BLE001  this is where defects end
                failed = _unexpected(name, error)
            if not failed.domain and not isinstance(failed, StreamEndedError):  # else it was logged where it came from
                outages.note(name, failed, served_call().request_id)
            failed.__traceback__ = None  # this frame holds the error, which holds the frame: nothing is to wait for the collector
            return await abort(context, failed, domain)

        return behaviour


async def abort(context: Context, error: StylobateError, domain: str) -> Never:
    """End the call with the error and its details."""
    status = to_status(error, domain=domain)
    trailing = (*(context.trailing_metadata() or ()), (DETAILS_KEY, status.SerializeToString()), NO_RETRY)
    await context.abort(error.code, status.message, trailing)


def _unexpected(method: str, error: BaseException) -> StylobateError:
    _log.error("rpc_failed", method=method, request_id=served_call().request_id, exc_info=error)
    return InternalError()


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, rather than something that the handler waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
