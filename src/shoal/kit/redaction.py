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
MANY = 500  # known ones, from which on one pass over a text takes less time than a search for each
SHORTEST_LINE = 12  # of a secret of many lines, such as a PEM block

_PEM = rb"-----%s [A-Z0-9 ]*PRIVATE KEY-----"
# Every repetition has an end: a log may hold a line of megabytes that begins to look like a secret at each byte.
_NAME = rb"(?:pass(?:word|wd|phrase)?|secret|token|(?:api|private|access)[_-]?key|keyring|credential)[\w.-]{0,64}"
_GIVES = rb"(?i)(" + _NAME + rb"\\*[\"']?\s*[=:]\s*)"
_PATTERNS = (
    # A private key in PEM, with its line ends written as \n, or with what a journal puts before each line; or cut off.
    # One whose beginning was cut off with the text's.
    (rb"\A(?:(?!-----BEGIN ).){0,16384}?" + _PEM % b"END", HIDDEN),
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


Place = tuple[int, int]  # in a text, from and to
Index = dict[bytes, list[tuple[int, set[bytes]]]]  # beginning → (length, those of that length), the longest first


class Redactor:
    """Knows the secrets of one run. `learn` as they turn up, then `redact` everything."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[bytes] = set()
        self._index: Index | None = None
        self._patterns = tuple((re.compile(pattern, re.DOTALL), shown) for pattern, shown in _PATTERNS)
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        lines = [line.strip() for line in secret.splitlines()]
        parts = [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
        for part in (secret, secret.strip(), *parts):
            if len(part) >= SHORTEST:
                self._known.update(form.encode() for form in _forms(part))
        self._index = None

    def redact(self, data: bytes) -> bytes:
        data = _hide(data, self._find(data))
        for pattern, shown in self._patterns:
            data = pattern.sub(shown, data)
        return data

    def _find(self, data: bytes) -> Iterator[Place]:
        if len(self._known) <= MANY:
            return _find_each(data, self._known)
        self._index = self._index or _index(self._known)
        return _find_in_one_pass(data, self._index)


def _hide(data: bytes, places: Iterable[Place]) -> bytes:
    """Every byte that is part of a secret; places may overlap."""
    shown, end = [], 0
    for start, stop in sorted(places):
        if start >= end:
            shown += [data[end:start], HIDDEN]
        end = max(end, stop)
    return b"".join(shown) + data[end:]


def _find_each(data: bytes, known: Iterable[bytes]) -> Iterator[Place]:
    for secret in known:
        start = data.find(secret)
        while start >= 0:
            yield start, start + len(secret)
            start = data.find(secret, start + 1)


def _find_in_one_pass(data: bytes, index: Index) -> Iterator[Place]:
    """Of those that begin at one place the longest. There may be 100,000 of them."""
    for start in range(len(data)):
        for length, some in index.get(data[start : start + SHORTEST], ()):
            if data[start : start + length] in some:
                yield start, start + length
                break


def _index(known: Iterable[bytes]) -> Index:
    found: dict[bytes, dict[int, set[bytes]]] = {}
    for secret in known:
        found.setdefault(secret[:SHORTEST], {}).setdefault(len(secret), set()).add(secret)
    return {first: sorted(some.items(), key=lambda pair: -pair[0]) for first, some in found.items()}


def _forms(secret: str) -> Iterator[str]:
    """As programs write it: plain, in JSON, in a URL, in XML, in base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="")
    yield html.escape(secret)
    yield base64.b64encode(secret.encode()).decode()
