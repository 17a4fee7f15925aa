"""How many connections may be open that have shown no certificate of a client: few of one address, so many in all.

So one machine that opens connections and says nothing keeps no host from being served.
"""

from __future__ import annotations

import threading
from collections import Counter

MOST_EACH = 32
MOST = 256


class Strangers:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Whether there is room. Each that enters must leave."""
        with self._lock:
            if self._by_address[address] >= MOST_EACH or sum(self._by_address.values()) >= MOST:
                return False
            self._by_address[address] += 1
            return True

    def leave(self, address: str) -> None:
        with self._lock:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
