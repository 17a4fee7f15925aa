"""The volume services' authority in Ceph is made anew before it is over."""

from __future__ import annotations

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from shoal.steps import authority, certificates
from shoal.steps.certificates import Pair


class Store:
    """Is the tools and the Ceph that they give."""

    def __init__(self, pair: Pair) -> None:
        self.kept, self.locks = dict[str, object](), defaultdict[str, asyncio.Lock](asyncio.Lock)
        self.connections = SimpleNamespace(spec=SimpleNamespace(ceph=SimpleNamespace(existing=None)))
        self.keys = {authority.CERTIFICATE: pair.certificate, authority.KEY: pair.key.reveal()}

    async def ceph(self) -> Any:
        return self

    async def text(self, argv: Sequence[str], *, input: bytes = b"") -> str:
        if argv[1] == "set":
            self.keys[argv[2]] = input.decode()
        return self.keys[argv[2]]


@pytest.mark.parametrize(("days", "stays"), [(20, False), (40, True)])
async def test_an_authority_that_is_soon_over_makes_place(
    monkeypatch: pytest.MonkeyPatch, days: int, stays: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "LIFE", datetime.timedelta(days=days))
        old = certificates.make_authority()
    store: Any = Store(old)
    found = await authority.find_or_make(store)
    assert (found.certificate == old.certificate) is stays
    assert store.keys[authority.CERTIFICATE] == found.certificate
    client = certificates.make_client(found, "xen1").certificate
    assert certificates.is_by(found.certificate, client)
    assert ends(client) <= ends(found.certificate), (
        "whoever looks at it alone would not see that it is soon worth nothing"
    )


def ends(certificate: str) -> datetime.datetime:
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
