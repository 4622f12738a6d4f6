"""What modules give out of a person and forget of one, as the service asks them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from stylobate.rpc.call import Call
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.user_data import Given, UserData

CODE = """
from stylobate.modules import BaseModule, RefusedError


class {name}(BaseModule):
    async def {method}(self, ctx, user_id):
{body}
"""
BODIES = {
    "many": "        for n in range(250):\n            yield {'n': n, 'of': user_id, 'as': ctx.principal.id}",
    "idle": "        return\n        yield",
    "refuses": "        yield {'n': 1}\n        raise RefusedError('TOO_EARLY', 'Not yet.')",
    "breaks": "        yield {'n': 1}\n        raise KeyError('secret')",
    "odd": "        yield {'n': 1}\n        yield ['no object']",
    "long": "        yield {'text': 'x' * 9_000_000}",
    "hangs": "        yield {'n': 1}\n        await __import__('asyncio').Event().wait()",
}


@pytest.fixture
async def told(write_module: Any, discover: Any, runner: Any) -> Any:
    """Give what loads modules and returns what they give out of ada, by module: records, and the reason at the end."""

    async def run(**bodies: str) -> dict[str, tuple[list[bytes], str]]:
        for name, body in bodies.items():
            method = "delete_user" if name == "forgets" else "export_user"
            modules = write_module(name, CODE.format(name=name.capitalize(), method=method, body=body))
        found: dict[str, tuple[list[bytes], str]] = {}
        async with ModuleManager.open(await discover(modules), runner, start_timeout=timedelta(seconds=5)) as manager:
            loop, timeout = asyncio.get_running_loop(), timedelta(seconds=0.2)
            users = UserData(manager, None, runner, service="actions", timeout=timeout, loop=loop)
            async for given in users.export("default", "ada", Call(request_id="r")):
                records, _ = found.setdefault(given.module, ([], "-"))
                if given.record:
                    records.append(given.record)
                else:
                    found[given.module] = records, given.error.reason if given.error else ""
        return found

    return run


async def test_each_module_gives_out_its_records_or_says_why_not(told: Any) -> None:
    """What came before an error is given out, and the next module is asked all the same."""
    found = await told(**BODIES, forgets="        pass", broken="        yield {}\n  bad")
    many, reason = found.pop("many")
    assert (len(many), many[-1], reason) == (250, b'{"n":249,"of":"ada","as":"service:actions"}', "")
    assert found == {
        "idle": ([], ""),
        "refuses": ([b'{"n":1}'], "TOO_EARLY"),
        "breaks": ([b'{"n":1}'], "HOOK_FAILED"),
        "odd": ([b'{"n":1}'], "HOOK_FAILED"),
        "long": ([], "HOOK_FAILED"),
        "hangs": ([b'{"n":1}'], "HOOK_TIMEOUT"),
        "forgets": ([], "USER_EXPORT_NOT_WRITTEN"),
        "broken": ([], "HOOK_UNAVAILABLE"),
    }
    assert [*found] == sorted(found)


async def test_who_stops_asking_ends_the_module(write_module: Any, discover: Any, runner: Any) -> None:
    """A module is not drawn further than is read, and what it holds open is closed."""
    body = """        ctx.settings  # there is a context
        self.state = "open"
        try:
            for n in range(10**9):
                self.made = n
                yield {"n": n}
        finally:
            self.state = "closed"
"""
    modules = write_module("endless", CODE.format(name="Endless", method="export_user", body=body))
    async with ModuleManager.open(await discover(modules), runner, start_timeout=timedelta(seconds=5)) as manager:
        loop, instance = asyncio.get_running_loop(), manager.running["endless"].instance
        users = UserData(manager, None, runner, service="actions", timeout=timedelta(seconds=5), loop=loop)
        given = users.export("default", "ada", Call(request_id="r"))
        assert await anext(given) == Given("endless", b'{"n":0}')
        assert (instance.state, instance.made < 1000) == ("open", True)
        await given.aclose()
        assert instance.state == "closed"
