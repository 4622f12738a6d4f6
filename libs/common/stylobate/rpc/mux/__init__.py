"""Many calls on one stream between two processes.

One bidirectional gRPC stream to each address of a target carries every call with one request and one response: what queues in a
turn of the loop, or while the connection is full, leaves in one message (:mod:`~stylobate.rpc.mux.items`). It is gRPC on the
wire, written here because a call by grpc.aio costs both ends ten times what the same call costs by a message of a stream. The
listener has a port of its own, which the plain port tells. Streams of responses, large requests, and every client that does not
know of this go by plain gRPC, as does everything while there is no stream.
"""

from stylobate.rpc.mux.channel import MuxChannel
from stylobate.rpc.mux.server import MuxServer

__all__ = ["MuxChannel", "MuxServer"]
