"""YAML with positions."""

import pytest
from stylobate.declarations.document import parse_document
from stylobate.declarations.report import FileReport


def parse(content: str | bytes):
    """Return the value and the findings as text."""
    report = FileReport("file.yaml", [])
    node = parse_document(content if isinstance(content, bytes) else content.encode(), report)
    return node, [str(finding) for finding in report.findings]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("a: 1\nb:\n\t- c\n", "file.yaml:3: bad YAML: a tab; YAML is indented with spaces"),
        ("a: [1\nb: 2\n", "file.yaml:2: bad YAML: "),
        ("a: 1\nb: 2\na: 3\n", "file.yaml:3: `a` stands twice; first in line 1"),
        ("a:\n  3: x\n", "file.yaml:2: the key `3` is not text; put it in quotes"),
        ("a: !!python/name:os.system\n", "file.yaml:1: the tag tag:yaml.org,2002:python/name:os.system has no meaning here"),
        ("a: !!int x\n", "file.yaml:1: 'x' is not what its tag says"),
        ("a: .inf\n", "file.yaml:1: inf is not a JSON number"),
        ("a: &x [*x]\n", "file.yaml:1: an alias that contains itself"),
        ("a: 1\n---\nb: 2\n", "file.yaml:2: bad YAML: "),
        (b"a: 1\nb: \xff\n", "file.yaml:2: not UTF-8 text"),
        ("a: 1\nb: \x07\n", "file.yaml:2: bad YAML: special characters are not allowed"),
        ("a: *nobody\n", "file.yaml:1: bad YAML: found undefined alias"),
        ("a:\n  " + "[" * 20_000, "file.yaml:2: bad YAML: nested more than 120 deep"),
        ("a:\n  " + "{b: " * 20_000, "file.yaml:2: bad YAML: nested more than 120 deep"),
        ("a:\n  " + "- " * 20_000, "file.yaml:2: bad YAML: nested more than 120 deep"),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)), "file.yaml:"),
        ("a: &a\n" + "  - x\n" * 400 + "b: &b [" + "*a, " * 400 + "]\nc: *b\n", "file.yaml:149: more than 100,000 values"),
    ],
)
def test_bad_yaml_has_its_line(content, finding):
    """Whatever cannot be read says where, and yields no half-read value."""
    node, findings = parse(content)
    assert node is None
    assert len(findings) == 1
    assert findings[0].startswith(finding)


def test_scalars_are_those_of_yaml_1_2():
    """`on`, `yes`, dates and 12:30 stay text: they are not booleans, dates and base 60 numbers."""
    node, findings = parse("{a: on, b: yes, c: 2024-01-01, d: 12:30, e: true, f: 3, g: 1.5e3, h: null, i: '3', j: 010}")
    assert findings == []
    assert node.plain() == {
        "a": "on", "b": "yes", "c": "2024-01-01", "d": "12:30", "e": True, "f": 3, "g": 1500.0, "h": None, "i": "3", "j": 10,
    }  # fmt: skip


def test_an_empty_file_is_an_empty_mapping():
    """A file of comments only declares nothing, which is not a fault."""
    node, findings = parse("# nothing yet\n")
    assert (node.plain(), findings) == ({}, [])


def test_a_path_leads_to_its_line():
    """A finding inside a value is placed at the nearest line above it."""
    node, _ = parse("a:\n  b:\n    - 1\n    - c: 2\n")
    assert node.line_at(["a", "b", 1, "c"]) == 4
    assert node.line_at(["a", "x", 1]) == 1
