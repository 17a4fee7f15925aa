"""A support bundle as a file: a compressed tar with a manifest, readable by its owner only. Every byte is redacted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from shoal import __version__
from shoal.kit.errors import ShoalError
from shoal.kit.redaction import Redactor
from shoal.observe.bundle import Had


def write_bundle(target: Path, found: Iterable[Had], remarks: Iterable[str], created: str, redactor: Redactor) -> None:
    """Written beside and renamed: a file of that name is a whole bundle. One that is there is refused."""
    folder = target.name.removesuffix(".tar.gz")
    found = [*found]
    files = [(one.path, redactor.redact(one.data)) for one in found if not one.missing]
    manifest = json.dumps(_manifest(found, remarks, created), indent=2, ensure_ascii=False).encode()
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)  # an earlier run's, or somebody's link
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as tar:
                for path, data in (("manifest.json", redactor.redact(manifest)), *files):
                    info = tarfile.TarInfo(f"{folder}/{path}")
                    info.size, info.mode = len(data), 0o600
                    tar.addfile(info, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)  # as a rename, but it refuses to replace
        part.unlink()
    except FileExistsError as error:
        part.unlink()
        raise ShoalError(f"{target} is there already", resolution="Name another file with -o.") from error
    except OSError as error:
        raise ShoalError(f"{target} cannot be written: {error.strerror}", resolution="Name another with -o.") from error


def _manifest(found: Iterable[Had], remarks: Iterable[str], created: str) -> dict[str, object]:
    return {
        "created": created,
        "shoal": __version__,
        "pieces": [
            {"path": one.path, "bytes": len(one.data), "seconds": round(one.seconds, 1), "cut_bytes": one.cut_bytes}
            for one in found
            if not one.missing
        ],
        "missing": {one.path: one.missing for one in found if one.missing},
        "secrets_not_known": [*remarks],
    }
