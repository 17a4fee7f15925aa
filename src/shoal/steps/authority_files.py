"""The volume services' certificate authority as files of this machine: for a Ceph cluster that Shoal does not keep."""

from __future__ import annotations

from pathlib import Path

from shoal.kit.errors import ShoalError
from shoal.kit.files import write_atomically
from shoal.kit.secret import Secret
from shoal.steps import certificates
from shoal.steps.certificates import Pair

CERTIFICATE, KEY = "ca.pem", "ca.key"
WHERE = "ceph.existing.authority"


def read(folder: Path) -> Pair:
    try:
        pair = Pair((folder / CERTIFICATE).read_text(), Secret((folder / KEY).read_text()))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ShoalError(
            f"cannot read the certificate authority in {folder}: {why}",
            resolution="shoal volume-service makes one; see docs/how-to/use-an-existing-ceph.md.",
            where=WHERE,
        ) from error
    if not certificates.belong_together(pair):
        raise ShoalError(f"{CERTIFICATE} and {KEY} in {folder} do not belong together", where=WHERE)
    return pair


def find_or_make(folder: Path) -> Pair:
    """Its certificate is written last: a key alone is half an authority, and made anew."""
    if (folder / CERTIFICATE).exists():
        return read(folder)
    made = certificates.make_authority()
    try:
        write_atomically(folder / KEY, made.key.reveal().encode(), mode=0o600)
        write_atomically(folder / CERTIFICATE, made.certificate.encode())
    except OSError as error:
        raise ShoalError(f"cannot write a certificate authority to {folder}: {error.strerror}", where=WHERE) from error
    return made
