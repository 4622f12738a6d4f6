"""Enters what the benchmarks found, from ``results/*.json``, into ``docs/reference/benchmarks.md``.

A table stands between ``<!-- P1 -->`` and ``<!-- /P1 -->``; the text around it is written by hand and names no figure of a run.
"""

import re
from typing import Any

import orjson

from bench.processes import ROOT
from bench.report import RESULTS, text

PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
_MICROSECONDS = re.compile(r"\bus\b")
_PLACE = re.compile(r"(<!-- (P\d+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def enter() -> list[str]:
    """Write the page anew and return the names of the benchmarks that were entered; what has no results stays as it is."""
    entered = []

    def fill(found: re.Match[str]) -> str:
        file = RESULTS / f"{found[2]}.json"
        if not file.exists():
            return found[0]
        entered.append(found[2])
        return f"{found[1]}{_section(orjson.loads(file.read_bytes()))}{found[3]}"

    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_PLACE.sub(fill, page), encoding="utf-8")
    return entered


def _section(document: dict[str, Any]) -> str:
    columns = [*document["rows"][0]]
    rows = [[text(row[column]) for column in columns] for row in document["rows"]]
    targets = [
        [
            one["what"],
            f"{'at least' if one['at_least'] else 'at most'} {_with_unit(text(one['bound']), one['unit'])}",
            f"{_with_unit(text(one['found']), one['unit'])}, **{'met' if one['met'] else 'missed'}**",
        ]
        for one in document["targets"]
    ]
    machine = document["machine"]
    load = ", ".join(map(text, machine["load_average"]))
    cores = f"{machine['cores']} cores ({machine['processor']})"
    where = f"{document['time'][:10]}, {cores}, Python {machine['python']}, load average {load} before."
    return "\n".join([*_table(columns, rows), "", *_table(["target", "", "found"], targets), "", where, ""])


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(_MICROSECONDS.sub('µs', cell.strip()) for cell in line)} |" for line in lines]


def _with_unit(figure: str, unit: str) -> str:
    return f"{figure} {unit.replace('us', 'µs')}"
