"""gRPC between services, in one process or across the network, through one pipeline."""

from stylobate.rpc.call import Call, HookRecursionError, call, current_call
from stylobate.rpc.caller import CallerChannel
from stylobate.rpc.channel import idempotent_methods, open_channel
from stylobate.rpc.interceptors import standard_interceptors
from stylobate.rpc.local import LocalChannel, LocalServer
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Behaviour, Interceptor, Method, RpcAccess
from stylobate.rpc.server import GrpcServer, build_server
from stylobate.rpc.servicers import Servicers
from stylobate.rpc.status import from_rpc_error, to_status
from stylobate.tls import TlsSettings

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Behaviour",
    "Call",
    "CallerChannel",
    "GrpcServer",
    "HookRecursionError",
    "Interceptor",
    "LocalChannel",
    "LocalServer",
    "Method",
    "RpcAccess",
    "Servicers",
    "TlsSettings",
    "build_server",
    "call",
    "current_call",
    "from_rpc_error",
    "idempotent_methods",
    "open_channel",
    "standard_interceptors",
    "to_status",
]
