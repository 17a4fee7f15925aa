"""`shoal host`: the hosts of the pool."""

from __future__ import annotations

from cyclopts import App

verbs = App(help="Bring hosts into the storage.", help_format="plaintext")
