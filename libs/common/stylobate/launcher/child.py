"""The entry of a process under a supervisor: hosts the placement given as JSON in its one argument."""

import sys

from pydantic import TypeAdapter

from stylobate.app.placement import Placement
from stylobate.launcher.serving import serve


def parse_placement(text: str) -> Placement:
    """Return the placement that the supervisor wrote."""
    return TypeAdapter(Placement).validate_json(text)


if __name__ == "__main__":
    sys.exit(serve(parse_placement(sys.argv[1])))
