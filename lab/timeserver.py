"""The LAN's NTP server: tells the machine's own time. Run as `python -m lab.timeserver` inside the lab's network.

SNTP's server half (RFC 4330), since a real NTP daemon would want to own the machine's clock.
"""

from __future__ import annotations

import socket
import struct
import time

from lab.topology import WORKSTATION

PORT = 123
UNIX_TO_NTP_S = 2_208_988_800
HEADER = struct.Struct("!BBbbII4s")
SERVER_MODE, STRATUM, PRECISION_LOG2_S = 4, 3, -20


def answer(request: bytes, received: float, now: float) -> bytes | None:
    """The reply to a client's packet; None for what is none."""
    if len(request) < 48 or request[0] & 7 != 3:
        return None
    version = request[0] >> 3 & 7
    header = HEADER.pack(version << 3 | SERVER_MODE, STRATUM, request[2] % 128, PRECISION_LOG2_S, 0, 66, b"LOCL")
    return header + timestamp(now) + request[40:48] + timestamp(received) + timestamp(now)


def timestamp(unix_s: float) -> bytes:
    """NTP's 32.32 fixed point."""
    seconds = int(unix_s)
    return struct.pack("!II", (seconds + UNIX_TO_NTP_S) % 2**32, int((unix_s - seconds) * 2**32))


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((WORKSTATION, PORT))
        while True:
            request, client = server.recvfrom(512)
            received = time.time()
            if reply := answer(request, received, time.time()):
                server.sendto(reply, client)


if __name__ == "__main__":
    main()
