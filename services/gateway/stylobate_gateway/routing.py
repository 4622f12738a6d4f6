"""Which action a path means: the routes that actions declare, names before parameters."""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from stylobate_gateway.called_action import CalledAction, Found


class _Node:
    """What may follow a piece of a path."""

    __slots__ = ("methods", "named", "parameter")

    def __init__(self) -> None:
        self.methods: dict[str, CalledAction] = {}
        self.named: dict[str, _Node] = {}
        self.parameter: _Node | None = None


class RouteTable:
    """Finds paths without parameters in one look-up, others segment by segment."""

    def __init__(self, actions: Iterable[CalledAction] = ()) -> None:
        self._plain: dict[tuple[str, str], Found] = {}
        self._root = _Node()
        for action in actions:
            if (route := action.route) is None:
                continue
            node = self._root
            for segment in route.segments:
                if segment:
                    node = node.named.setdefault(segment, _Node())
                else:
                    node.parameter = node = node.parameter or _Node()
            node.methods[route.method] = action
            if not route.parameters:
                self._plain[route.method, route.path] = Found(action, action.input)

    def find(self, method: str, path: str, raw: bytes) -> Found | None:
        """Return the action, of the most precise path that fits.

        :param path: percent-decoded.
        :param raw: as it was sent. A slash that was sent encoded separates nothing, and no declared path holds it.
        """
        if b"%" not in raw and (plain := self._plain.get((method, path))) is not None:
            return plain
        for node, values in self._fitting(raw):
            if (action := node.methods.get(method)) is not None:
                return Found(action, action.input, values)
        return None

    def methods(self, raw: bytes) -> frozenset[str]:
        """Return every method that some action takes at the path."""
        return frozenset(method for node, _ in self._fitting(raw) for method in node.methods)

    def _fitting(self, raw: bytes) -> Iterator[tuple[_Node, tuple[str, ...]]]:
        first, *others = raw[1:].split(b"/")
        if b"%" not in first and first.decode() not in self._root.named:
            return  # every declared path begins with a name
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in (first, *others)]
        except UnicodeDecodeError:
            return
        if not any("/" in segment or not segment for segment in segments):
            yield from _walk(self._root, segments, 0, ())


def _walk(node: _Node, segments: list[str], place: int, values: tuple[str, ...]) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    if place == len(segments):
        yield node, values
        return
    segment = segments[place]
    if (named := node.named.get(segment)) is not None:
        yield from _walk(named, segments, place + 1, values)
    if node.parameter is not None:
        yield from _walk(node.parameter, segments, place + 1, (*values, segment))
