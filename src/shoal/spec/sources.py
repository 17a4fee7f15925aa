"""Values that do not stand in the spec itself: `{env: NAME}` and `{file: PATH}`.

Which environment and which folder are meant comes in by pydantic's context, so that a test needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from pydantic import ValidationInfo

from shoal.kit.secret import Secret


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where `{env:}` and `{file:}` look. Relative paths are relative to the spec's folder."""

    folder: Path = Path()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def read_secret(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, Mapping) or len(value) != 1 or set(value) - {"env", "file"}:
        raise ValueError("a secret does not stand in the spec itself; write {env: NAME} or {file: PATH}")
    if "env" in value:
        return Secret(_environment(value["env"], info))
    path = _surroundings(info).folder / str(value["file"])
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not text'}") from error
    if not text.strip():
        raise ValueError(f"{path} is empty; write the secret into it")
    return Secret(text.rstrip("\r\n"))


def read_path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if isinstance(value, Mapping) and set(value) == {"env"}:
        value = _environment(value["env"], info)
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of a file, or {env: NAME}")
    return _surroundings(info).folder / Path(value).expanduser()


def read_endpoint(default_port: int) -> Callable[[object], str]:
    """ "10.0.0.1" or "10.0.0.1:6789" → with its port."""

    def read(value: object) -> str:
        address, _, port = value.partition(":") if isinstance(value, str) else ("", "", "")
        try:
            number = int(port or default_port)
            if port == "" and isinstance(value, str) and value.endswith(":") or not 0 < number < 65536:
                raise ValueError
            return f"{IPv4Address(address)}:{number}"
        except ValueError:
            raise ValueError(
                f"not an address; write ADDRESS or ADDRESS:PORT, such as 10.0.0.1:{default_port}"
            ) from None

    return read


def _environment(name: object, info: ValidationInfo) -> str:
    value = _surroundings(info).environ.get(str(name), "")
    if not value:
        raise ValueError(f"the environment variable {name} is not set; export it first")
    return value


def _surroundings(info: ValidationInfo) -> Surroundings:
    return info.context if isinstance(info.context, Surroundings) else Surroundings()
