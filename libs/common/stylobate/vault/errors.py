"""What Vault refuses, or cannot do: one line each that names its address and what to do. Never with a value in it."""


class VaultError(Exception):
    """Vault was asked and gave no answer that can be used."""


class VaultUnavailableError(VaultError):
    """It does not answer, is sealed or has no leader: it may answer later."""


class VaultLoginError(VaultError):
    """It does not let us in at all: somebody has to change something."""


class VaultDeniedError(VaultError):
    """It does not let us there, or not do that: somebody has to change something."""


class VaultRefusedError(VaultError):
    """It does not take what was sent: the value is wrong, for itself or for the key that is to open it."""
