"""Fingerprints trusted on first use: TLS certificates and SSH host keys. A change is refused. Holds no secret."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from shoal.kit.errors import ShoalError

IN_SPEC = "the spec (pool.fingerprint)"


class PinChanged(ShoalError):
    """Somebody else answers at a known address, or the same one with a new key."""

    def __init__(self, kind: str, name: str, *, expected: str, seen: str, stored_in: str) -> None:
        super().__init__(
            f"the {kind} of {name} is not the one that Shoal knows; nothing was sent to it",
            details=f"expected {expected}\nseen     {seen}",
            resolution=(
                "If the machine was reinstalled or its key renewed, and only then, compare the fingerprint on its own "
                f"console and correct it in {stored_in}. If not, somebody may be listening in."
            ),
            where="pool.fingerprint" if stored_in == IN_SPEC else "",
        )
        self.kind, self.name, self.expected, self.seen = kind, name, expected, seen


class Pins:
    """A JSON file `{kind: {name: fingerprint}}`. It may be shared by processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, kind: str, name: str, fingerprint: str) -> None:
        """Remember the fingerprint if the name is new, else compare. Raises PinChanged."""
        with self._locked():
            pins = self._read()
            known = pins.setdefault(kind, {}).setdefault(name, fingerprint)
            if known != fingerprint:
                raise PinChanged(kind, name, expected=known, seen=fingerprint, stored_in=str(self.path))
            self._write(pins)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            pins = json.loads(self.path.read_bytes() or b"{}")
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if not isinstance(pins, dict) or not all(isinstance(names, dict) for names in pins.values()):
            raise self._damaged("not an object of objects")
        return pins

    def _write(self, pins: dict[str, dict[str, str]]) -> None:
        text = json.dumps(pins, indent=2, sort_keys=True) + "\n"
        if self.path.exists() and self.path.read_text() == text:
            return
        beside = self.path.with_name(f"{self.path.name}.tmp")
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ShoalError(
                f"the file of known fingerprints cannot be used: {error}",
                resolution="Make its folder writable, or name another one with --state.",
            ) from error

    def _damaged(self, why: str) -> ShoalError:
        return ShoalError(
            f"{self.path} is damaged: {why}",
            resolution="Restore it from a backup, or remove it to trust what answers at the next contact.",
        )
