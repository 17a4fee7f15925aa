"""Whose certificate it is, and whether it is soon over. Knows of no key and of no authority."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

AHEAD = datetime.timedelta(days=30)


def common_name(certificate: str) -> str:
    """Of a certificate in PEM; "" for one that has none, and for what is no certificate."""
    return _read(certificate)[0]


def lasting_name(certificate: str) -> str:
    """The same, but "" for one that is over in a month: a new one is due."""
    name, ends = _read(certificate)
    return name if ends > datetime.datetime.now(datetime.UTC) + AHEAD else ""


def _read(certificate: str) -> tuple[str, datetime.datetime]:
    try:
        loaded = x509.load_pem_x509_certificate(certificate.encode())
        found = loaded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if len(found) == 1 else "", loaded.not_valid_after_utc
    except ValueError:
        return "", datetime.datetime.min.replace(tzinfo=datetime.UTC)
