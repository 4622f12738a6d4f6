"""A module's secrets: from Vault, a mounted file or the environment, never shown and never in a log.

Secret ``gateway_key`` of module ``shop`` is key ``gateway_key`` of ``modules/shop`` in Vault, the file
``module_shop_gateway_key``, or ``STYLOBATE_MODULE_SHOP_GATEWAY_KEY``.
"""

from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from stylobate.config import MASK, ConfigError, Resolved, Sources
from stylobate.declarations.model import Finding, ModuleDeclaration
from stylobate.declarations.section import did_you_mean
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.settings import variable_of


class ModuleSecrets(Mapping[str, SecretStr]):
    """The declared secrets by name, each as it is at this moment: one that is exchanged in Vault is another one here.

    :raises ModuleLoadError: of the constructor, with a finding for each secret that is missing.
    """

    def __init__(self, declaration: ModuleDeclaration, sources: Sources) -> None:
        self._declaration = declaration
        self._sources = sources
        self._known: dict[str, SecretStr] = {}
        findings = []
        for name, line in declaration.secrets.items():
            try:
                found = _find(declaration.name, name, sources)
                problem = "" if found else _missing(declaration.name, name, sources)
            except ConfigError as error:
                found, problem = None, str(error)
            if found is not None:
                self._known[name] = SecretStr(found[0])
            else:
                findings.append(Finding(str(declaration.folder / "module.yaml"), line, problem))
        if findings:
            raise ModuleLoadError(declaration.name, findings)

    def __getitem__(self, name: str) -> SecretStr:
        """Return a secret; its text is ``.get_secret_value()``. Raises KeyError for one that the module does not declare."""
        if name not in self._known:
            raise KeyError(f"{self._declaration.name} declares no secret `{name}`{did_you_mean(name, self._known)}")
        store = self._sources.store
        if store is not None and (text := store.find(_path(self._declaration.name), name)):
            return SecretStr(text)
        return self._known[name]

    def __repr__(self) -> str:
        """Return the names."""
        return f"{type(self).__name__}({', '.join(self._known)})"

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._known)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._known)


def explained_secrets(declaration: ModuleDeclaration, sources: Sources) -> list[Resolved]:
    """Return where each secret comes from. Raises ConfigError."""
    found = [(name, _find(declaration.name, name, sources)) for name in declaration.secrets]
    return [Resolved(name, MASK, one[1]) if one else Resolved(name, "", "missing") for name, one in found]


def _path(module: str) -> str:
    return f"modules/{module}"


def _find(module: str, name: str, sources: Sources) -> tuple[str, str] | None:
    """Return a secret and its origin: of Vault, of a mounted file, of the environment. Raises ConfigError."""
    store, file, variable = sources.store, f"module_{module}_{name}", variable_of(module, name)
    if store is not None and (text := store.find(_path(module), name)):
        return text, store.place(_path(module), name)
    if store is not None and store.requires(file):
        return None
    for folder in sources.folders:
        if (path := folder / file).is_file() and (text := path.read_text(encoding="utf-8").strip()):
            return text, f"file {path}"
    if text := sources.environ.get(variable, ""):
        return text, f"environment {variable}"
    return None


def _missing(module: str, name: str, sources: Sources) -> str:
    store, file = sources.store, f"module_{module}_{name}"
    places = [] if store is None else [store.place(_path(module), name)]
    if store is None or not store.requires(file):
        places += [*(str(folder / file) for folder in sources.folders), variable_of(module, name)]
    why = f" ({store.problem})" if store is not None and store.problem else ""
    return f"the secret `{name}` is missing; looked at {', '.join(places)}{why}"
