"""What modules declare: read from YAML with every finding at once, as plain data for the services it concerns."""

from stylobate.declarations.compiled import CompiledSchema
from stylobate.declarations.loader import load_declarations
from stylobate.declarations.model import Declarations
from stylobate.declarations.rules import parse_access_rule, parse_rate_limit

__all__ = ["CompiledSchema", "Declarations", "load_declarations", "parse_access_rule", "parse_rate_limit"]
