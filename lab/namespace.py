"""Going into a lab's network: this thread's sockets are then the workstation's in the lab. One way only."""

from __future__ import annotations

import ctypes
import os

from lab.command import NAMESPACES
from lab.topology import Lab

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(lab: Lab) -> None:
    """Move the calling thread (and the children that it starts) into the lab's network namespace."""
    try:
        descriptor = os.open(NAMESPACES / lab.namespace, os.O_RDONLY)
    except FileNotFoundError as error:
        raise RuntimeError(f"the lab at {lab.dir} is not up; run `shoal-lab up`") from error
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {lab.namespace} (root is needed)")
    finally:
        os.close(descriptor)
