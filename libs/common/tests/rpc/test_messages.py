"""Text that nothing behind can keep, in every text field of every method, over every kind of channel."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import stylobate.api
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from stylobate.rpc import LocalChannel, LocalServer, RpcAccess, Servicers, build_server, from_rpc_error, open_channel
from stylobate.rpc.interceptors import CallInterceptor

BAD = "a\0b"
Fill = Callable[[Message], None]


def _methods() -> dict[str, MethodDescriptor]:
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.walk_packages(stylobate.api.__path__, "stylobate.api."):
        if module.name.endswith("_pb2"):
            for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
                found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


def _fields(message: Descriptor, above: tuple[Descriptor, ...] = ()) -> Iterator[tuple[str, Fill]]:
    """Give the pointer of every text field that a message can hold, and what puts bad text there and nowhere else."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from _text(field)
        elif field.message_type is not None and field.message_type not in above:
            yield from _nested(field, (*above, message))


def _text(field: FieldDescriptor) -> Iterator[tuple[str, Fill]]:
    name = field.name
    if field.is_repeated:
        yield f"/{name}/1", lambda message: getattr(message, name).extend(["good", BAD])
    else:
        yield f"/{name}", lambda message: setattr(message, name, BAD)


def _nested(field: FieldDescriptor, above: tuple[Descriptor, ...]) -> Iterator[tuple[str, Fill]]:
    name, kind = field.name, field.message_type
    if kind.GetOptions().map_entry:
        if kind.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING:
            yield f"/{name}", lambda message: getattr(message, name).__getitem__(BAD)
        if kind.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            yield f"/{name}/good", lambda message: getattr(message, name).update({"good": BAD})
        return
    for pointer, fill in _fields(kind, above):
        if field.is_repeated:
            yield f"/{name}/0{pointer}", lambda message, fill=fill: fill(getattr(message, name).add())
        else:
            yield f"/{name}{pointer}", lambda message, fill=fill: fill(getattr(message, name))


METHODS = _methods()
CASES = [(name, pointer, fill) for name, method in METHODS.items() for pointer, fill in _fields(method.input_type)]


def _everything() -> Servicers:
    """Serve every method there is with a handler that takes anything."""
    servicers = Servicers([CallInterceptor()])
    for name, method in METHODS.items():
        answer = message_factory.GetMessageClass(method.output_type)

        async def one(_request: Any, _context: Any, answer: Any = answer) -> Any:
            return answer()

        async def many(_request: Any, _context: Any, answer: Any = answer) -> AsyncIterator[Any]:
            yield answer()

        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        handler = make(
            many if method.server_streaming else one,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=answer.SerializeToString,
        )
        servicers._add(name, handler, RpcAccess.PUBLIC)
    return servicers


@asynccontextmanager
async def _channel(kind: str) -> AsyncIterator[grpc.aio.Channel]:
    if kind == "local":
        local = LocalServer(_everything())
        await local.start()
        yield LocalChannel(local)
        await local.stop()
        return
    server = build_server(_everything(), addresses=["127.0.0.1:0"])
    await server.start()
    async with open_channel(f"127.0.0.1:{server.ports['127.0.0.1:0']}") as channel:
        yield channel
    await server.stop(0)


async def _send(channel: grpc.aio.Channel, name: str, data: bytes) -> grpc.aio.AioRpcError | None:
    """Send the encoded request; return how it failed."""
    try:
        if METHODS[name].server_streaming:
            await channel.unary_stream(name)(data, timeout=10).read()
        else:
            await channel.unary_unary(name)(data, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["local", "tcp"])
async def test_no_text_field_of_any_method_takes_a_nul(kind: str):
    """INVALID_ARGUMENT, reason INVALID_INPUT, and the field's pointer; the handler is never reached."""
    assert len(CASES) > 40
    assert {name.rpartition("/")[0] for name, _, _ in CASES} >= {"/stylobate.api.events.v1.EventService"}  # a stream
    async with _channel(kind) as channel:
        for name, pointer, fill in CASES:
            request = message_factory.GetMessageClass(METHODS[name].input_type)()
            fill(request)
            error = await _send(channel, name, request.SerializeToString())
            assert error is not None, f"{name} takes U+0000 at {pointer}"
            typed = from_rpc_error(error)
            assert (error.code(), typed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"), f"{name} {pointer}"
            assert [violation.pointer for violation in typed.violations] == [pointer], name


@pytest.mark.parametrize("kind", ["local", "tcp"])
async def test_text_that_is_no_utf8_is_refused(kind: str):
    """A lone surrogate, an overlong form, a cut sequence: no text field takes bytes that are not UTF-8."""
    async with _channel(kind) as channel:
        for name, method in METHODS.items():
            for field in method.input_type.fields:
                if field.type != FieldDescriptor.TYPE_STRING:
                    continue
                for bad in (b"\xed\xa0\x80", b"\xc0\x80", b"\xe2\x82"):
                    key = (field.number << 3) | 2
                    data = bytes([key, len(bad)]) if key < 128 else bytes([key & 127 | 128, key >> 7, len(bad)])
                    error = await _send(channel, name, data + bad)
                    assert error is not None, f"{name} takes {bad!r} as {field.name}"
                    assert from_rpc_error(error).reason == "INVALID_INPUT", name


@pytest.mark.parametrize("kind", ["local", "tcp"])
async def test_bytes_and_numbers_may_hold_zeros(kind: str):
    """A zero byte is not a fault by itself: bytes fields carry anything."""
    async with _channel(kind) as channel:
        for name, method in METHODS.items():
            request = message_factory.GetMessageClass(method.input_type)()
            for field in method.input_type.fields:
                if field.type == FieldDescriptor.TYPE_BYTES and not field.is_repeated:
                    setattr(request, field.name, b"\0\0")
            assert await _send(channel, name, request.SerializeToString()) is None, name
