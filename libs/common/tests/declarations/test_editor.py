"""The schemas for editors: what the loader takes they take, what it does not know they do not know."""

from pathlib import Path

import pytest
from stylobate.declarations import CompiledSchema
from stylobate.declarations.document import parse_document
from stylobate.declarations.editor import editor_schemas
from stylobate.declarations.report import FileReport

ROOT = Path(__file__).parents[4]
FOLDERS = [
    ROOT / "modules" / "shop",
    *(file.parent for file in ROOT.glob("*/**/tests/**/modules/*/module.yaml") if ".venv" not in file.parts),
]
FOLDERS += [file.parent for file in ROOT.glob("tests/**/modules/*/module.yaml")]
WRONG = {
    "module.yaml": ["nmae: x", "name: Shop", "name: x\nversion: 1.0", "name: x\nroles: { user: all }"],
    "actions.yaml": [
        "action: {}",
        "actions: { a.b: { handler: b } }",
        "actions: { a.b: { handler: b, access: public, timeout: 5 } }",
        "actions: { a.b: { handler: b, access: public, rate_limit: 5 } }",
        "actions: { a.b: { handler: b, access: public, retry: 5 } }",
        "actions: { a.b: { handler: b, access: public, input: { type: intger } } }",
    ],
    "states.yaml": [
        "namespaces: { a: { initail: x } }",
        "namespaces: { a: { transitions: { pay: { from: x } } } }",
        "namespaces: { a: { access: { raed: public } } }",
        "namespaces: { a: { before: { created: { method: a, on_unavailable: maybe } } } }",
    ],
    "realtime.yaml": ["namespaces: { ab: { presence: 1 } }", "namespaces: { ab: { access: { listen: public } } }"],
}


def content(text: bytes, name: str) -> object:
    """Return what a file says."""
    node = parse_document(text, FileReport(name, []))
    assert node is not None
    return node.plain()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_module_here_fits(folder: Path) -> None:
    """No editor underlines what the platform takes."""
    for name, schema in editor_schemas().items():
        if (folder / name).exists():
            assert CompiledSchema(schema).violations(content((folder / name).read_bytes(), name)) == ()


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_what_is_wrong_is_underlined(name: str, text: str) -> None:
    """Keys that are none, values of another kind, forms of the small languages."""
    assert CompiledSchema(editor_schemas()[name]).violations(content(text.encode(), name)) != ()
