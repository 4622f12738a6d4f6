"""The calls that handlers are at work on: what is left of them when a server stops is cut off, and the log says so."""

from stylobate.logs import get_logger
from stylobate.rpc.call import Call, call
from stylobate.rpc.method import Context
from stylobate.telemetry import counter

_LOCAL = "local:"
_log = get_logger("app")


class UnderWay:
    """Knows each call from when its handler begins until that ends."""

    def __init__(self) -> None:
        self._open: dict[Context, tuple[str, Call]] = {}

    def begin(self, method: str, context: Context) -> None:
        """Take note of a call."""
        self._open[context] = method, call()

    def end(self, context: Context) -> None:
        """Forget the call."""
        del self._open[context]

    def cut_off(self) -> None:
        """Log and count each call that came over a wire; no server can cut off local ones."""
        cut = counter("rpc_cut_off", "Calls that were cut off when their server stopped, by method.", ("method",))
        for context, (method, served) in tuple(self._open.items()):
            if (peer := context.peer()) != _LOCAL:
                cut.labels(method).inc()
                _log.warning("rpc_cut_off", method=method, service=served.principal.via, peer=peer, request_id=served.request_id)
