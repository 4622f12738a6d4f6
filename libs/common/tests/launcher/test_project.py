"""The record of what runs, and who may run it."""

import pytest
from stylobate.launcher.embedded import ProcessRecord
from stylobate.launcher.project import Project, RunRecord


def test_the_record_comes_back_as_it_was_kept(project) -> None:
    """What a supervisor saves is what another process reads; forgetting it is fine twice."""
    running = RunRecord(ProcessRecord.of_this("supervisor"), "split", {"gateway": "http://x"}, (ProcessRecord("a", 1, 2.5),))
    project.save(running)
    assert Project(project.folder).running() == running
    assert running.supervisor.is_running
    assert not running.is_ready  # until it says so
    project.forget()
    project.forget()
    assert project.running() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"supervisor": 1}', b'{"supervisor": {}, "mode": "", "endpoints": {}}'])
def test_a_record_that_cannot_be_read_is_none(project, content) -> None:
    """Half a file or one of another version stops nobody from starting."""
    (project.run / "up.json").write_bytes(content)
    assert project.running() is None


def test_one_supervisor_holds_a_project(project) -> None:
    """The second is told so at once; afterwards the project is free."""
    with project.claimed() as first:
        assert first
        with Project(project.folder).claimed() as second:
            assert not second
        with Project(project.folder).claimed() as third:
            assert not third  # the one that was refused did not let go of it
    with project.claimed() as again:
        assert again
