"""`dev` hears of what is saved."""

import asyncio
import os

from stylobate.launcher.reload import changes, watched_folders


async def test_what_needs_a_restart_is_told(tmp_path) -> None:
    """Declarations and code, also behind a link, and the platform's own, which is told apart; not tests, not notes."""
    elsewhere = tmp_path / "elsewhere" / "shop"
    elsewhere.mkdir(parents=True)
    project = tmp_path / "project"
    (project / "modules" / "own" / "tests").mkdir(parents=True)
    (project / "services" / "own").mkdir(parents=True)
    (project / "modules" / "shop").symlink_to(elsewhere)
    heard: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    async def listen() -> None:
        async for change in changes(project, {}):
            assert change.is_platform == ("services/own/main.py" in change.paths)
            heard.put_nowait(change.paths)

    listening = asyncio.create_task(listen())
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while len(seen) < 3:  # the watcher begins at a moment of its own
            (project / "modules" / "own" / "tests" / "test_own.py").write_text(os.urandom(4).hex())
            (project / "modules" / "own" / "notes.txt").write_text(os.urandom(4).hex())
            (project / "modules" / "own" / "module.py").write_text(os.urandom(4).hex())
            (project / "services" / "own" / "main.py").write_text(os.urandom(4).hex())
            (elsewhere / "actions.yaml").write_text(os.urandom(4).hex())
            await asyncio.sleep(0.1)
            while not heard.empty():
                seen |= set(heard.get_nowait())
    listening.cancel()
    assert seen == {"modules/own/module.py", "services/own/main.py", "../elsewhere/shop/actions.yaml"}


async def test_modules_elsewhere_are_watched_where_they_are(tmp_path) -> None:
    """The setting counts, not the name of a folder; where there is nothing, watching ends."""
    there = tmp_path / "there"
    there.mkdir()
    setting = {"STYLOBATE_MODULES": os.pathsep.join([str(there), "package:shop"])}
    assert watched_folders(tmp_path, setting) == [there]
    assert [paths async for paths in changes(tmp_path, {})] == []
