"""Calls in a service's own name while it serves somebody: for what it asks of others by its own rules, once it let them in."""

from collections.abc import Iterator
from contextlib import contextmanager

from stylobate.rpc.call import Call, current_call


@contextmanager
def in_own_name(request_id: str = "") -> Iterator[None]:
    """While this lasts, calls that are begun are the service's own, and have no deadline but their own. Nothing is awaited in it.

    :param request_id: of the call being served; for correlation.
    """
    served = current_call.set(Call(request_id=request_id, own_name=True))
    try:
        yield
    finally:
        current_call.reset(served)
