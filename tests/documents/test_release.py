"""What a release leaves behind."""

import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[2]
BUF = ROOT / ".venv" / "bin" / "buf"


def test_the_changelog_tells_of_the_version() -> None:
    """What is numbered is described, below what is not released yet."""
    version = (ROOT / "VERSION").read_text(encoding="utf-8").strip()
    sections = [line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line.startswith("## [")]
    assert sections[0] == "## [Unreleased]"
    assert sections[1].startswith(f"## [{version}] - ")


def test_the_contracts_of_the_release_are_kept() -> None:
    """Every contract that was released is still there."""
    kept = FileDescriptorSet.FromString((ROOT / "proto" / "released.binpb").read_bytes())
    files = {file.name for file in kept.file if file.package.startswith("stylobate.")}
    assert files
    assert [name for name in sorted(files) if not (ROOT / "proto" / name).exists()] == []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("string name = 1;", "string name = 2;"), ("string name = 1;", "int64 name = 1;"), ("rpc Greet(", "rpc Hail(")],
    ids=["a number", "a type", "a method"],
)
def test_a_break_would_be_seen(tmp_path: Path, was: str, becomes: str) -> None:
    """The comparison that `make check` makes finds each kind of break, with the rules of this repository."""
    messages = "message Hello { string name = 1; }"
    released = f'syntax = "proto3"; package greeting.v1; service Greeter {{ rpc Greet(Hello) returns (Hello); }} {messages}'
    (tmp_path / "buf.yaml").write_text((ROOT / "buf.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    contract = tmp_path / "proto" / "greeting.proto"
    contract.parent.mkdir()
    contract.write_text(released, encoding="utf-8")
    subprocess.run([BUF, "build", "-o", "released.binpb"], cwd=tmp_path, check=True)
    compare = [BUF, "breaking", "--against", "released.binpb"]
    assert subprocess.run(compare, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    contract.write_text(released.replace(was, becomes), encoding="utf-8")
    assert subprocess.run(compare, cwd=tmp_path, check=False, capture_output=True).returncode != 0
