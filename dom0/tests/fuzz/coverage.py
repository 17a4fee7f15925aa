"""`python -m dom0.tests.fuzz.coverage [FOLDER] [libFuzzer's options]`: atheris on the driver's dispatcher.

The first byte of an input says what it is: a request as raw text, or a command with changed values and the bytes that
services, toolstack and kernel answer. What breaks is left in a file crash-…, and the same command with that file as its
argument shows it again.
"""

from __future__ import annotations

import sys
import tempfile
import xmlrpc.client
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["dom0.shoal_dom0"]):
    from dom0.tests.fuzz.enclosure import Enclosure, http, is_bug

from dom0.tests.fuzz.requests import COMMANDS, NASTY, request

ENCLOSURE = Enclosure()
NAMES = sorted(COMMANDS)
WORDS = ("methodCall", "methodName", "params", "param", "value", "struct", "member", "name", "array", "data", "string")
CODES = (0, 0, 0, 5, 16, 22, 28, 30)


def one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data[1:])
    if data[:1] < b"\x40":
        answer = ENCLOSURE.check(data[1:].decode("utf-8", "surrogateescape"))
        assert not is_bug(answer), answer
    elif data[:1] < b"\x80":
        answer = ENCLOSURE.check(changed_request(provider))
        assert not is_bug(answer), answer
    else:
        text = changed_request(provider) if provider.ConsumeBool() else plain_request(provider)
        said = [answer_bytes(provider) for _ in range(provider.ConsumeIntInRange(0, 8))]
        codes = [CODES[provider.ConsumeIntInRange(0, len(CODES) - 1)] for _ in range(4)]
        ENCLOSURE.check(text, iter(said), iter(codes))


def plain_request(provider: Any) -> str:
    command = NAMES[provider.ConsumeIntInRange(0, len(NAMES) - 1)]
    return xmlrpc.client.dumps((request(command, snapshot=provider.ConsumeBool()),), command)


def changed_request(provider: Any) -> str:
    command = NAMES[provider.ConsumeIntInRange(0, len(NAMES) - 1)]
    made = request(command, snapshot=provider.ConsumeBool())
    for _ in range(provider.ConsumeIntInRange(0, 4)):
        inside: Any = made if provider.ConsumeBool() else made["device_config"]
        if not isinstance(inside, dict):
            break
        keys = sorted(inside)
        key = keys[provider.ConsumeIntInRange(0, len(keys) - 1)] if keys else "pool"
        inside[key] = any_value(provider, 3)
    return xmlrpc.client.dumps((made,), command, allow_none=True)


def any_value(provider: Any, depth: int) -> Any:
    kind = provider.ConsumeIntInRange(0, 7 if depth else 4)
    if kind == 0:
        return NASTY[provider.ConsumeIntInRange(0, len(NASTY) - 1)]
    if kind == 1:
        return provider.ConsumeUnicode(60)
    if kind == 2:
        return provider.ConsumeIntInRange(-(2**31), 2**31 - 1)
    if kind == 3:
        return provider.ConsumeBool()
    if kind == 4:
        return None
    count = provider.ConsumeIntInRange(0, 3)
    if kind == 5:
        return {provider.ConsumeUnicode(12): any_value(provider, depth - 1) for _ in range(count)}
    return [any_value(provider, depth - 1) for _ in range(count)]


def answer_bytes(provider: Any) -> bytes:
    body = bytes(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 300)))
    return http(body, 200 if provider.ConsumeBool() else 409) if provider.ConsumeBool() else body


def seed(folder: Path) -> None:
    """One input of each kind for each command, so that it need not find XML by chance."""
    for number, command in enumerate(NAMES):
        text = xmlrpc.client.dumps((request(command),), command).encode()
        (folder / f"seed-raw-{command}").write_bytes(b"\x00" + text)
        (folder / f"seed-changed-{command}").write_bytes(b"\x41" + bytes([number]) * 40)
        body = b'{"result":{},"volumes":[],"snapshots":[],"broken":[],"locks":[],"watchers":[],"owner":null}'
        (folder / f"seed-answers-{command}").write_bytes(b"\x81" + http(body) + bytes([number]) * 40)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shoal-fuzz-corpus-") as scratch:
        words = Path(scratch) / "words"
        keys = {key for command in NAMES for key in request(command)} | set(request("sr_attach")["device_config"])
        words.write_text("".join(f'"{word}"\n' for word in (*WORDS, *sorted(keys), *NAMES)))
        argv = sys.argv
        if not any(Path(word).exists() for word in argv[1:]):
            corpus = Path(scratch) / "corpus"
            corpus.mkdir()
            seed(corpus)
            argv = [argv[0], str(corpus), f"-dict={words}", "-max_len=8192", "-timeout=25", *argv[1:]]
        atheris.Setup(argv, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
