"""Importing a library without those of its parts that nobody here uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports of these modules fail inside the block; who has one already keeps it, and anybody may import it afterwards."""
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: what the import system itself takes for "not there"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def built_late() -> Iterator[None]:
    """Have Pydantic's models of the modules that the block imports built when they are first used."""
    from pydantic import BaseModel  # noqa: PLC0415  not for every command

    before = BaseModel.model_config
    BaseModel.model_config = {**before, "defer_build": True}
    try:
        yield
    finally:
        BaseModel.model_config = before


@contextmanager
def on_demand(package: str, *taken: str) -> Iterator[None]:
    """Have the package's own file run when somebody asks for a name in it, not for the modules in it that the block imports.

    Many packages import all that they have so that it can be had from one place: a command line, a server, clients. Whoever asks
    the package for a name gets it as ever, at any time. Nothing happens where it is imported already.

    :param taken: what modules in it ask it for: other modules, or names in them, as ``config:Config``.
    """
    if package in sys.modules or (spec := find_spec(package)) is None or spec.loader is None:
        yield
        return
    module, run = module_from_spec(spec), spec.loader.exec_module

    def asked(name: str) -> Any:
        del module.__getattr__  # once: what the file itself asks for and does not find is not there
        run(module)
        return getattr(module, name)

    module.__getattr__ = asked  # type: ignore[method-assign]
    sys.modules[package] = module
    above, _, own = package.rpartition(".")
    if above:
        setattr(sys.modules[above], own, module)
    for place in taken:
        name, _, attribute = place.partition(":")
        part = import_module(f"{package}.{name}")
        if attribute:
            setattr(module, attribute, getattr(part, attribute))
    yield
