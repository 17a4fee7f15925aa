"""Takes secrets out of text that leaves the house: those that are known, and whatever looks like one. Pure.

Rather too much than too little: a value beside the word "password" goes, whatever it is.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

HIDDEN = b"[redacted]"
SHORTEST = 4
"""Characters. A shorter secret would be found in every word; beside its name it is hidden all the same."""
SHORTEST_LINE = 12  # of a secret of many lines, such as a PEM block

_PEM = rb"-----%s [A-Z0-9 ]*PRIVATE KEY-----"
# Every repetition has an end: a log may hold a line of megabytes that begins to look like a secret at each byte.
_NAME = rb"(?:pass(?:word|wd|phrase)?|secret|token|(?:api|private|access)[_-]?key|keyring|credential)[\w.-]{0,64}"
_GIVES = rb"(?i)(" + _NAME + rb"\\*[\"']?\s*[=:]\s*)"
_PATTERNS = (
    # A private key in PEM, with its line ends written as \n, or with what a journal puts before each line; or cut off.
    (_PEM % b"BEGIN" + rb"(?:(?:(?!-----BEGIN ).){0,16384}?" + _PEM % b"END" + rb"|[A-Za-z0-9+/=\s\\:,-]*)", HIDDEN),
    # {"name": "…password", "value": "…"}, as Ceph tells its configuration
    (
        rb'(?i)("(?:name|key)"\s*:\s*"[^"]{0,200}(?:pass|secret|token|_key|credential)[^"]{0,200}"'
        rb'\s*,\s*"val(?:ue)?"\s*:\s*)"(?:[^"\\]|\\.)*"',
        rb'\1"' + HIDDEN + rb'"',
    ),
    # CephX: 28 bytes for AES (type 1), 44 for AES-256 (type 2), in base64.
    (rb"(?<![A-Za-z0-9+/])A[Qg][A-Za-z0-9+/]{20,70}={1,2}", HIDDEN),
    # <name>password</name><value>…, as XML-RPC has it
    (rb"(?i)(" + _NAME + rb"</name>\s*<value>(?:<string>)?)[^<]*", rb"\1" + HIDDEN),
    # "name": "value", the same inside of a JSON text, 'name': 'value', name = value. What is JSON stays JSON.
    (_GIVES + rb"\"(?:[^\"\\]|\\.)*\"", rb'\1"' + HIDDEN + rb'"'),
    (_GIVES + rb"\\+\".{0,4096}?\\+\"", rb"\1" + HIDDEN),
    (_GIVES + rb"'[^'\n]*'", rb"\1'" + HIDDEN + rb"'"),
    (_GIVES + rb"[^\s,;<>&}\])\"'\[{(][^\s,;<>&}\])\"']*", rb"\1" + HIDDEN),
    # A session of XenAPI's opens the pool while it lasts; in a URL it is written otherwise.
    (rb"(?i)(session[\w ]{0,64}[\"']?\s*[=:>,(]?\s*[\"']?)OpaqueRef(?::|%3A)[0-9a-f-]+", rb"\1" + HIDDEN),
    (rb"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer)\s+)[\w+/=.~-]+", rb"\1" + HIDDEN),
    (rb"(://[^/\s:@]+:)[^/\s@]+(?=@)", rb"\1" + HIDDEN),
)


class Redactor:
    """Knows the secrets of one run. `learn` as they turn up, then `redact` everything."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[bytes] = set()
        self._patterns = tuple((re.compile(pattern, re.DOTALL), shown) for pattern, shown in _PATTERNS)
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        lines = [line.strip() for line in secret.splitlines()]
        parts = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
        for part in (secret, secret.strip(), *parts):
            if len(part) >= SHORTEST:
                self._known.update(form.encode() for form in _forms(part))

    def redact(self, data: bytes) -> bytes:
        for secret in sorted(self._known, key=len, reverse=True):
            data = data.replace(secret, HIDDEN)
        for pattern, shown in self._patterns:
            data = pattern.sub(shown, data)
        return data


def _forms(secret: str) -> Iterator[str]:
    """As programs write it: plain, in JSON, in a URL, in XML, in base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
    yield html.escape(secret)
    yield base64.b64encode(secret.encode()).decode()
