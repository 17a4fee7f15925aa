"""Secrets are taken out, known or by their looks, in every form in which programs write them; the rest stays."""

from __future__ import annotations

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from shoal.kit.redaction import HIDDEN, MANY, Redactor

CEPHX = base64.b64encode(b"\x01\x00" + bytes(range(200, 226))).decode()
CEPHX_256 = base64.b64encode(b"\x02\x00" + bytes(range(100, 142))).decode()
PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    .decode()
)
PEM_EC = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    .decode()
)
BODY = PEM.splitlines()[1]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"key = {CEPHX}", CEPHX),
        (f"10.77.0.21:6789 name=shoal-xen,secret={CEPHX} rbd vdi-1 -", CEPHX),
        (f'{{"key": "{CEPHX_256}"}}', CEPHX_256),
        (f"a\n{PEM}b (stays)", BODY),
        (json.dumps({"value": PEM_EC}), PEM_EC.splitlines()[1]),
        (PEM[:150], PEM.splitlines()[1][:60]),
        ('password: "two words"', "two words"),
        (json.dumps({"body": json.dumps({"password": "hunter2"})}), "hunter2"),
        ('{"api_key": "two \\" words"}', "words"),
        ("--password=hunter2 --user root", "hunter2"),
        ("<name>password</name><value>hunter2</value>", "hunter2"),
        ("session_id=OpaqueRef:1234-abcd", "1234-abcd"),
        ("GET /export_raw_vdi?session_id=OpaqueRef%3A1234-abcd&vdi=x", "1234-abcd"),
        ("{'session_ref': 'OpaqueRef:1234-abcd'}", "1234-abcd"),
        ("Authorization: Basic cm9vdDp4", "cm9vdDp4"),
        ("https://root:hunter2@10.77.0.11/", "hunter2"),
        ("".join(f"vm1 python3[12]: {line}\n" for line in PEM_EC.splitlines()), PEM_EC.splitlines()[1]),
        ('{"section": "mgr", "name": "mgr/dashboard/GRAFANA_API_PASSWORD", "value": "hunter2"}', "hunter2"),
    ],
    ids=map(str, range(17)),  # the keys are new in each process
)
def test_what_looks_like_a_secret_goes(text: str, secret: str) -> None:
    assert secret not in Redactor().redact(text.encode()).decode()


def test_a_long_line_costs_no_more_than_its_length() -> None:
    """Each repetition is bounded: unbounded ones would take hours for this."""
    line = b"session.token-like." * 30_000
    began = time.process_time()
    Redactor().redact(line)
    assert time.process_time() - began < 60


def test_what_is_none_stays() -> None:
    text = b"osd.1 up; vdi-7f3c-4a on rbd/gold; OpaqueRef:12-ab is a VM; 10.77.0.21:6789; sha256:00aa (ok)\n"
    assert Redactor(["hunter2"]).redact(text) == text


@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_known_secret_goes_wherever_it_stands(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    for text in (before + secret + after, json.dumps(before + secret + after)):
        shown = redactor.redact(text.encode()).replace(HIDDEN, b"")
        assert secret.encode() not in shown or secret in HIDDEN.decode() or secret in before + after


@pytest.mark.parametrize("more", [0, 2 * MANY], ids=["few", "many"])
def test_every_byte_of_secrets_that_overlap_goes(more: int) -> None:
    secrets = ["abcdefgh", "fghijklmnopq", "abcd", "pqrs-tuv"]
    redactor = Redactor([*secrets, *(f"another-{number}" for number in range(more))])
    assert redactor.redact(b"abcdefghijklmnopqrs-tuv, abcdx") == HIDDEN + b", " + HIDDEN + b"x"


def test_the_rest_of_a_key_whose_beginning_was_cut_off_goes() -> None:
    text = b"QgEiAnotherLine\nLastLineOfAKey=\n-----END PRIVATE KEY-----\nstays"
    assert Redactor().redact(text) == HIDDEN + b"\nstays"


def test_each_line_of_a_known_key_goes() -> None:
    redactor = Redactor([PEM])
    for line in PEM.splitlines()[1:-2]:
        assert line.encode() not in redactor.redact(f"... {line} ...".encode())


def test_json_stays_json() -> None:
    told = {"secrets": ["a", "b"], "password": 'x" y', "token": {"secret": "s"}, "why": "bad password: no", "pem": PEM}
    shown = json.loads(Redactor([PEM]).redact(json.dumps(told).encode()))
    assert (shown["secrets"], shown["password"], shown["token"]["secret"]) == (["a", "b"], "[redacted]", "[redacted]")
