"""Certificates of the volume services: an authority of their own, a server certificate each, a client's for each dom0.

EC P-256: an RSA handshake would cost an emulated or busy dom0 seconds. Pure but for the clock and random numbers.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret

LIFE = datetime.timedelta(days=3650)
BEFORE = datetime.timedelta(days=1)  # clocks differ
NAME = "Shoal volume services"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: Secret


def make_authority() -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(NAME)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key.public_key(), _now() + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_server(authority: Pair, name: str, address: str) -> Pair:
    """For one address: clients check it."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    return _issue(authority, name, ExtendedKeyUsageOID.SERVER_AUTH, names)


def make_client(authority: Pair, name: str) -> Pair:
    return _issue(authority, name, ExtendedKeyUsageOID.CLIENT_AUTH, None)


def is_by(authority_certificate: str, certificate: str) -> bool:
    """Whether the authority issued this certificate, and both are still valid for a month."""
    try:
        issuer, issued = _load(authority_certificate), _load(certificate)
        issued.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001  whatever is wrong with it, it is made anew
        return False
    return _lasts(issuer) and _lasts(issued)


def lasts(certificate: str) -> bool:
    """Whether it is still valid for a month."""
    try:
        return _lasts(_load(certificate))
    except ValueError:
        return False


def belong_together(pair: Pair) -> bool:
    try:
        key = _load_key(pair.key)
        return _load(pair.certificate).public_key() == key.public_key()
    except (ValueError, ShoalError):
        return False


def _issue(
    authority: Pair, name: str, purpose: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None
) -> Pair:
    key, issuer = ec.generate_private_key(ec.SECP256R1()), _load(authority.certificate)
    builder = (
        # It does not outlast its issuer: so whoever has one sees in time that both are to be made anew.
        _builder(_name(name), issuer.subject, key.public_key(), min(_now() + LIFE, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(_load_key(authority.key), hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ends: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - BEFORE)
        .not_valid_after(ends)
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    return Pair(certificate.public_bytes(encoding).decode(), Secret(private))


def _lasts(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc > _now() + datetime.timedelta(days=30)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _load_key(key: Secret) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ShoalError("the authority's key is not of the kind that Shoal makes")
    return loaded
