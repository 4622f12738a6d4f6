"""The servicers of a process: every method with its access, bound once to the pipeline."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from stylobate.rpc.handlers import ByName, Handlers, UnaryBehaviour
from stylobate.rpc.method import Behaviour, Interceptor, Method, Passing, Prompt, RpcAccess

Handler = grpc.RpcMethodHandler  # what generated code registers


class Servicers:
    """Takes generated services and gives one bound chain per method, to the local server and to real ones alike.

    :param interceptors: outermost first.
    """

    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        self._interceptors = tuple(interceptors)
        self._methods: dict[str, tuple[Method, Behaviour]] = {}
        self._bound: dict[str, Behaviour] = {}
        self._prompt: dict[str, Prompt] = {}
        self._here: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.handlers = Handlers()
        """The runs of those that were called."""

    def use(self, interceptors: Sequence[Interceptor]) -> None:
        """Set the pipeline, for one whose parts themselves call through what is served here. Before any call only."""
        if self._bound:
            raise RuntimeError("a method is bound to its pipeline already")
        self._interceptors = tuple(interceptors)

    def register(
        self,
        add_to_server: Callable[[Any, grpc.aio.Server], None],
        servicer: object,
        access: Mapping[str, RpcAccess] | None = None,
        owner: str = "",
    ) -> None:
        """Serve a servicer.

        :param add_to_server: the generated ``add_XServicer_to_server``.
        :param servicer: its ``ACCESS`` says for each method, by its bare name, how far it is open; its ``PROMPT``, if it has
            one, of which requests the handler ends as soon as it is cancelled. These need no task of their own in one process,
            and may be given the caller's own message, which they neither keep nor change.
            Its ``HERE``, if it has one, names the function of its own that does the same for who is in this process and was
            answered before: with plain values, see :mod:`stylobate.rpc.local.here`. Its ``PLAIN``, if it has one, names the
            function that does the same for a call of this process: with plain values, see ``LocalUnaryMethod.ask_plainly``. It
            too ends as soon as it is cancelled, so ``PROMPT`` names the method as well.
        :param access: the same, for one without.
        :param owner: the service that tokens of callers must be made for; empty: any that this process hosts.
        :raises ValueError: a method without an access, an access without a method, a service registered before, a method that
            streams requests, or one in ``PLAIN`` that is not in ``PROMPT`` or streams its answer.
        """
        if access is None:
            access = cast("Mapping[str, RpcAccess]", getattr(servicer, "ACCESS", {}))
        offered = _Registration()
        add_to_server(servicer, cast("grpc.aio.Server", offered))
        for service, handlers in offered.services.items():
            if missing := sorted(handlers.keys() - access.keys()):
                raise ValueError(f"{service}: no access given for {', '.join(missing)}")
            if unknown := sorted(access.keys() - handlers.keys()):
                raise ValueError(f"{service} has no method {', '.join(unknown)}")
            for name, handler in handlers.items():
                self._add(f"/{service}/{name}", handler, access[name], owner)
            prompt: Mapping[str, Prompt] = getattr(servicer, "PROMPT", {})
            self._prompt |= {f"/{service}/{name}": prompt[name] for name in handlers.keys() & prompt.keys()}
            for name, function in getattr(servicer, "PLAIN", {}).items():
                full_name = f"/{service}/{name}"
                if full_name not in self._prompt or self._methods[full_name][0].response_streaming:
                    raise ValueError(f"{service}: PLAIN names {name}; only a method in PROMPT with one answer may be")
                cast("UnaryBehaviour", self._methods[full_name][1]).plain = getattr(servicer, function)
            here: Mapping[str, str] = getattr(servicer, "HERE", {})
            self._here |= {f"/{service}/{name}": getattr(servicer, here[name]) for name in handlers.keys() & here.keys()}

    def _add(self, full_name: str, handler: "Handler[Any, Any]", access: RpcAccess, owner: str = "") -> None:
        if full_name in self._methods:
            raise ValueError(f"{full_name} is registered already")
        if handler.request_streaming:
            raise ValueError(f"{full_name} streams its requests; only single requests are served")
        method = Method(full_name, handler.response_streaming, access, owner)
        serve = self.handlers.stream if handler.response_streaming else self.handlers.unary
        self._methods[full_name] = (method, serve(handler, full_name))

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of the services, in the order of registration."""
        return tuple(dict.fromkeys(method.service for method, _ in self._methods.values()))

    def behaviour(self, full_name: str) -> Behaviour | None:
        """Return the method's chain, bound at the first call; None for an unknown method. Needs a running loop."""
        bound = self._bound.get(full_name)
        if bound is None and (known := self._methods.get(full_name)) is not None:
            method, bound = known
            for interceptor in reversed(self._interceptors):
                bound = interceptor.bind(bound, method)
            self._bound[full_name] = bound
        return bound

    def prompt(self, full_name: str) -> Prompt | None:
        """Return what tells of a request whether its handler ends as soon as it is cancelled; None: of none."""
        return self._prompt.get(full_name)

    def takes_messages(self, full_name: str) -> bool:
        """Return whether the method's chain serves requests that are not encoded too."""
        known = self._methods.get(full_name)
        steps = self._interceptors
        return known is not None and not known[0].response_streaming and len(steps) == 1 and steps[0].passes_messages

    def passing(self, full_name: str) -> Passing | None:
        """Return what admits calls of the method by plain values; None: there are none such."""
        known = self._methods.get(full_name)
        if known is None or not self.takes_messages(full_name) or cast("UnaryBehaviour", known[1]).plain is None:
            return None
        return self._interceptors[0].passing(known[0])

    def here(self, full_name: str) -> Callable[..., Awaitable[Any]] | None:
        """Return what does the same with plain values; None: there is no such thing."""
        return self._here.get(full_name)

    def unary(self, full_name: str) -> Behaviour | None:
        """Return the chain of a method with one response; None for any other."""
        known = self._methods.get(full_name)
        return None if known is None or known[0].response_streaming else self.behaviour(full_name)

    def generic_handler(self) -> grpc.GenericRpcHandler:
        """Return what a real ``grpc.aio`` server serves all of it with. Needs a running loop."""
        handlers: dict[str, Handler[Any, Any]] = {}
        for full_name, (method, _) in self._methods.items():
            behaviour = self.behaviour(full_name)
            if behaviour is not None:
                make = grpc.unary_stream_rpc_method_handler if method.response_streaming else grpc.unary_unary_rpc_method_handler
                handlers[full_name] = make(behaviour)  # no (de)serializer: the chain takes and gives bytes
        return ByName(handlers)


class _Registration:
    """Stands in for a server while generated code registers its handlers."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: object) -> None:
        """Ignore: the same handlers come by name below."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: "Mapping[str, Handler[Any, Any]]") -> None:
        """Take the handlers of a service."""
        self.services[service_name] = method_handlers
