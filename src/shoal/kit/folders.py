"""Where Shoal keeps what belongs to this workstation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def state_folder(pool_url: str, chosen: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """`chosen` (--state), else $SHOAL_STATE, else $XDG_STATE_HOME/shoal; below that one folder per pool."""
    root = chosen or environ.get("SHOAL_STATE")
    if not root:
        root = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "shoal"
    return Path(root) / hashlib.sha256(pool_url.rstrip("/").encode()).hexdigest()[:12]
