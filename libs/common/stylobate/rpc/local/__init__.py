"""Calls inside one process that look remote.

Messages are encoded and decoded, the handler runs as a task of its own in an empty context, and metadata is all that
crosses. Deadlines, cancellation, status errors and the pipeline are those of a real server. One difference is left: a
handler that blocks the loop also blocks its caller's deadline.
"""

from stylobate.rpc.local.channel import LocalChannel, LocalServer

__all__ = ["LocalChannel", "LocalServer"]
