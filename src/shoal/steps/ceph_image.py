"""The RBD image that an SR of type lvm lies on. Only ever made, or made larger."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.errors import ShoalError
from shoal.kit.sizes import MiB, format_size
from shoal.plan.action import Action
from shoal.steps import placement_groups, settings
from shoal.steps.tools import Tools

timeout_s = 480.0
ENOENT, EEXIST = 2, 17


@dataclass(frozen=True, slots=True)
class Image:
    size_bytes: int
    features: tuple[str, ...]


async def apply(action: Action, tools: Tools) -> None:
    ceph, image, wanted = await tools.ceph(), settings.text(action, "image"), settings.number(action, "size_bytes")
    await placement_groups.wait_until_active(action, tools, ceph)
    found = await _find(ceph, image)
    if found is None:
        tools.progress(action, f"creating {image}, {format_size(wanted)}, thin")
        features = [word for feature in settings.texts(action, "features") for word in ("--image-feature", feature)]
        try:
            await ceph.rbd(["create", image, "--size", _size(wanted), *features])
        except CephRefused as error:
            if error.code != EEXIST:  # a try whose answer was lost has made it
                raise
    elif found.size_bytes < wanted:
        tools.progress(action, f"growing {image} to {format_size(wanted)}")
        await ceph.rbd(["resize", image, "--size", _size(wanted), "--no-progress"])


async def verify(action: Action, tools: Tools) -> str:
    found = await _find(await tools.ceph(), settings.text(action, "image"))
    if found is None:
        return "there is no such image"
    if found.features != settings.texts(action, "features"):
        return f"its features are {', '.join(found.features) or 'none'}"
    is_large_enough = found.size_bytes >= settings.number(action, "size_bytes")
    return "" if is_large_enough else f"it has {format_size(found.size_bytes)}"


async def _find(ceph: Ceph, image: str) -> Image | None:
    try:
        return parse(await ceph.rbd(["info", image, "--format", "json"]))
    except CephRefused as error:
        if error.code == ENOENT:
            return None
        raise


def parse(said: str) -> Image:
    """`rbd info --format json`."""
    try:
        answer = json.loads(said)
        return Image(int(answer["size"]), tuple(sorted(str(feature) for feature in answer["features"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ShoalError("rbd info answered what Shoal does not understand", details=said[:500]) from error


def _size(size_bytes: int) -> str:
    """In whole MiB, rbd's own unit."""
    return f"{-(-size_bytes // MiB)}M"
