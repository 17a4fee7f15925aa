"""Ports for the servers of tests, each held by one process for as long as it wants it."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that the kernel gives out by itself (32768 on): so nobody else has one while its server restarts.
PORTS = range(18000, 32000)


class Port:
    """`number` is nobody else's until `give_back`, whether something listens there or not.

    That a port can be bound says only that nobody listens yet: two servers about to start could both be told the same.
    So a name in the kernel's list of Unix sockets stands for each port that is taken; it goes with its process.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        for number in random.sample(PORTS, 100):
            mark = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError), socket.socket() as probe:
                mark.bind(f"\0shoal-port-{number}")
                probe.bind((address, number))
                self.number = number
                self._mark = mark
                return
            mark.close()
        raise OSError(f"no port is free of 100 between {PORTS.start} and {PORTS.stop}")

    def give_back(self) -> None:
        self._mark.close()
