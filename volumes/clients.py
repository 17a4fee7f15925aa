"""Who may ask, of all whose certificate is good: the names in a file, which is read for each request.

So a host that has left is refused at once, without a restart and on connections that are open. No list, no client.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volumes.errors import ServiceError


def common_names(certificate: dict[str, Any]) -> list[str]:
    """Of a certificate as `getpeercert` gives it."""
    return [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]


def check(certificate: dict[str, Any], file: Path) -> None:
    """Raises a ServiceError for a client that is not on the list. Its code makes the driver ask the next service."""
    names = common_names(certificate)
    try:
        allowed = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise _unknown(f"the list of clients cannot be read: {type(error).__name__}") from error
    if len(names) != 1 or not isinstance(allowed, list) or names[0] not in allowed:
        raise _unknown(f"no client here is called {', '.join(names)[:100]!r}: shoal apply")


def _unknown(why: str) -> ServiceError:
    return ServiceError(403, "unknown_client", why)
