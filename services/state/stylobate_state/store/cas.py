"""The statement that compares and sets (``cas.sql``), with what a batch needs of it and no more.

Parts that have nothing to do cost as much as the rest of a single write: PostgreSQL plans them and sets them up all the same.
"""

import re
from functools import cache
from importlib.resources import files

_COLUMNS, _INDEX_COLUMNS = 21, 6
"""Parameters that are always there, and those of the entries of indexes."""
_PARTS = ("groups", "indexes", "restores", "migrations", "versions", "assigns", "tells")


@cache
def cas_statement(
    *, groups: bool, indexes: bool, restores: bool, migrations: bool, versions: bool, assigns: bool, tells: bool
) -> str:
    """Return the statement.

    :param groups: with what keeps the writes of a group together. :param indexes: with what enters writes into indexes; its
        arrays are the last parameters. :param restores: with what brings older versions back.
    :param migrations: with what holds for MIGRATED alone. :param versions: with schema versions above 1.
    :param assigns: with what hands objects over.
    :param tells: with what events carry beside what all do; its array is the very last parameter.
    """
    text = (files("stylobate_state.store") / "cas.sql").read_text(encoding="utf-8")
    for part, is_wanted in zip(_PARTS, (groups, indexes, restores, migrations, versions, assigns, tells), strict=True):
        if not is_wanted:
            text = re.sub(rf"^-- {part} \{{\n.*?^-- {part} \}}\n|^[^\n]* -- {part}\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return text.replace("$tells", f"${_COLUMNS + (_INDEX_COLUMNS if indexes else 0) + 1}")
