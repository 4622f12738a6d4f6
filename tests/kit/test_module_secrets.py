"""A module's secrets: declared, missing ones refused, read in handlers, shown nowhere; in the kit as on the platform."""

from pathlib import Path
from textwrap import dedent

import pytest
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.errors import StylobateError
from stylobate.modules.check import check_modules
from stylobate.modules.secrets import ModuleSecrets, explained_secrets
from stylobate.testing.modules import ActionTester
from stylobate.vault.manager import VaultManager

CODE = """\
from stylobate.modules import ActionContext, BaseModule


class PayModule(BaseModule):
    def configure(self) -> None:
        assert self.secrets["gateway_key"].get_secret_value()

    async def length(self, ctx: ActionContext) -> int:
        return len(ctx.secret("gateway_key").get_secret_value())

    async def shown(self, ctx: ActionContext) -> str:
        ctx.log.info("pay", key=ctx.secret("gateway_key"))
        return f"{ctx.secret('gateway_key')} {self.secrets}"

    async def other(self, ctx: ActionContext) -> str:
        return str(ctx.secret("gateway_kay"))
"""
FILES = {
    "module.yaml": """\
        name: pay
        secrets:
          gateway_key: What the payment gateway knows us by
        """,
    "actions.yaml": """\
        actions:
          pay.length: { handler: length, access: public }
          pay.shown: { handler: shown, access: public }
          pay.other: { handler: other, access: public }
        """,
    "module.py": CODE,
}
VARIABLE = "STYLOBATE_MODULE_PAY_GATEWAY_KEY"


@pytest.fixture
def pay(tmp_path: Path) -> Path:
    """Return the folder of a module with one secret."""
    folder = tmp_path / "pay"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(dedent(text))
    return folder


async def test_a_handler_reads_a_secret_and_shows_it_nowhere(pay, caplog) -> None:
    """The kit gives it as a setting; its text is there when asked for, and stars wherever it is printed or logged."""
    async with ActionTester.open(pay, settings={VARIABLE: "hush-hush"}) as tester:
        ada = tester.user("ada")
        assert await ada.call("pay.length") == len("hush-hush")
        shown = await ada.call("pay.shown")
        assert shown.startswith("********** ")
        assert "hush" not in shown + caplog.text
        with pytest.raises(StylobateError) as refused:
            await ada.call("pay.other")
        assert refused.value.reason == "ACTION_FAILED"
        assert "pay declares no secret `gateway_kay`; did you mean `gateway_key`?" in caplog.text


def test_a_missing_secret_is_a_finding(pay) -> None:
    """With file, line and every place that was looked at."""
    (finding,) = check_modules(str(pay), Sources({}, (Path("/mounted"),)))
    assert str(finding) == (
        f"{pay}/module.yaml:3: the secret `gateway_key` is missing; looked at /mounted/module_pay_gateway_key, {VARIABLE}"
    )


def test_a_secret_comes_from_a_mounted_file_or_the_environment(pay, tmp_path) -> None:
    """The file first; what is explained has the place, not the value."""
    (module,) = load_declarations(str(pay)).modules
    (tmp_path / "module_pay_gateway_key").write_text("of-the-file\n")
    for folders, origin in (((tmp_path,), f"file {tmp_path / 'module_pay_gateway_key'}"), ((), f"environment {VARIABLE}")):
        (shown,) = explained_secrets(module, Sources({VARIABLE: "of-the-environment"}, folders))
        assert (shown.value, shown.origin) == ("********", origin)


async def test_a_secret_of_vault_is_another_one_once_it_is_exchanged(pay, vault) -> None:
    """Without a restart: the next that asks has the new one."""
    (module,) = load_declarations(str(pay)).modules
    vault.put("modules-test/modules/pay", gateway_key="first")
    manager = VaultManager(vault.options("modules-test"))
    found = ModuleSecrets(module, Sources({VARIABLE: "of-the-environment"}, (), store=manager.secrets))
    assert found["gateway_key"].get_secret_value() == "first"
    vault.put("modules-test/modules/pay", gateway_key="second")
    manager.secrets.look()
    assert found["gateway_key"].get_secret_value() == "second"
    assert "second" not in repr(found)
