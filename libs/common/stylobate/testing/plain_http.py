"""HTTP to servers of this machine, which speak no TLS."""

import ssl
from typing import Final

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""``verify`` of an httpx client: it trusts nobody. By itself each reads all authorities, which takes longer than a request."""
