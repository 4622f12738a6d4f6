"""Discovery and the life of modules: what fails is reported and stops nothing else."""

from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from stylobate.health import Status
from stylobate_actions.model import Discovery
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import Runner

from .conftest import Discover, WriteModule

START = timedelta(seconds=5)
ACTION = "actions:\n  {name}.greet: {{ handler: greet, access: public }}\n"
CODE = """
    from stylobate.modules import BaseModule, Health, Status

    class Greeter(BaseModule):
        log_of_lives = []

        async def initialize(self):
            self.log_of_lives.append(f"{self.name} initialized")

        async def dispose(self):
            self.log_of_lives.append(f"{self.name} disposed")

        async def greet(self, ctx):
            return "hello"
"""


def module_yaml(name: str, *dependencies: str) -> str:
    """Return a module.yaml."""
    return f'name: {name}\nversion: "1.0.0"\ndependencies: [{", ".join(dependencies)}]\n'


def write(write_module: WriteModule, name: str, *dependencies: str, code: str = CODE) -> Path:
    """Write a module with one action."""
    return write_module(name, code, module=module_yaml(name, *dependencies), actions=ACTION.format(name=name))


async def test_a_module_that_fails_to_import_stops_only_its_dependents(write_module: WriteModule, discover: Discover) -> None:
    """The others load; each failure says why, without a path or an exception's text; code that cannot be used is not run."""
    write(write_module, "good")
    write(write_module, "bad", code="raise RuntimeError('the secret of /etc')")
    noted = f"from pathlib import Path\n(Path(__file__).parent / 'ran').touch()\n{dedent(CODE)}"
    modules = write(write_module, "dependent", "bad", code=noted)
    write(write_module, "of_the_dependent", "dependent", code=noted)
    discovery: Discovery = await discover(modules)
    assert [module.name for module in discovery.loaded] == ["good"]
    details = {failure.name: failure.detail for failure in discovery.failures}
    assert details == {
        "bad": "1 finding; `stylobate modules check` shows them",
        "dependent": "depends on bad, which did not load",
        "of_the_dependent": "depends on dependent, which did not load",
    }
    assert not list(modules.glob("*/ran"))


async def test_a_module_whose_declarations_are_wrong_is_listed_too(
    write_module: WriteModule, discover: Discover, runner: Runner
) -> None:
    """What the loader left out is not forgotten: it stands among the modules, not well."""
    write(write_module, "good")
    modules = write_module("odd", module='name: odd\nversion: "1.0.0"\nunknown: 1\n')
    async with ModuleManager.open(await discover(modules), runner, start_timeout=START) as manager:
        assert manager.names() == ["good", "odd"]
        status = await manager.status("odd")
        health = await manager.health()
    assert status.status is Status.UNHEALTHY
    assert (health.status, "odd" in health.details) == (Status.DEGRADED, True)


async def test_modules_begin_after_what_they_depend_on_and_end_before_it(
    write_module: WriteModule, discover: Discover, runner: Runner
) -> None:
    """Initialized in dependency order, disposed in reverse."""
    lives = """
    from pathlib import Path
    from stylobate.modules import BaseModule

    class M(BaseModule):
        def _note(self, what):
            with (Path(__file__).parents[1] / "lives.txt").open("a") as file:
                file.write(f"{what} {self.name}\\n")
        async def initialize(self): self._note("begin")
        async def dispose(self): self._note("end")
        async def greet(self, ctx): ...
    """
    write(write_module, "a", "b", code=lives)
    modules = write(write_module, "b", code=lives)
    async with ModuleManager.open(await discover(modules), runner, start_timeout=START):
        pass
    assert (modules / "lives.txt").read_text().splitlines() == ["begin b", "begin a", "end a", "end b"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("raise ValueError('secret')", "did not initialize: ValueError; the log says more"),
        ("await __import__('asyncio').Event().wait()", "did not initialize within 0.05 s"),
    ],
)
async def test_a_module_that_does_not_initialize_is_left_out_and_disposed(
    write_module: WriteModule, discover: Discover, runner: Runner, body: str, detail: str
) -> None:
    """Failing or hanging, it holds up nobody; what it had opened is closed; its actions are known to be unavailable."""
    code = f"""
    from pathlib import Path
    from stylobate.modules import BaseModule

    class M(BaseModule):
        async def initialize(self): {body}
        async def dispose(self): (Path(__file__).parent / "disposed").touch()
        async def greet(self, ctx): ...
    """
    write(write_module, "bad", code=code)
    write(write_module, "dependent", "bad")
    modules = write(write_module, "good")
    async with ModuleManager.open(await discover(modules), runner, start_timeout=timedelta(milliseconds=50)) as manager:
        assert list(manager.running) == ["good"]
        assert {name: failure.detail for name, failure in manager.failures.items()} == {
            "bad": detail,
            "dependent": "depends on bad, which is not running",
        }
    assert (modules / "bad" / "disposed").exists()


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("return Health(Status.DEGRADED, 'slow')", Status.DEGRADED, "slow"),
        ("raise ValueError('secret')", Status.UNHEALTHY, "its health check failed: ValueError"),
    ],
)
async def test_a_module_says_itself_how_it_is(
    write_module: WriteModule, discover: Discover, runner: Runner, body: str, status: Status, detail: str
) -> None:
    """Its own health stands in its status and makes the service degraded, never unready."""
    code = f"""
    from stylobate.modules import BaseModule, Health, Status

    class M(BaseModule):
        async def health_check(self): {body}
        async def greet(self, ctx): ...
    """
    modules = write(write_module, "ill", code=code)
    async with ModuleManager.open(await discover(modules), runner, start_timeout=START) as manager:
        found, health = await manager.status("ill"), await manager.health()
    assert (found.status, found.detail) == (status, detail)
    assert health.status is Status.DEGRADED
