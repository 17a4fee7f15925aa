"""Hears what the witnesses say, on every host at once, with the time at which each line arrived.

One connection a host, over the lab's own wire to dom0, so that no fault on the LAN makes us deaf; a host that dies
takes it along, and is listened to again when it is back. A console's log is then read from its beginning: what was said
meanwhile is heard late, not lost, and marked so; what was heard before is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter

import asyncssh

from lab.dom0 import Dom0, Dom0Unreachable
from lab.topology import Host, Lab
from tests.chaos.judge import Heard

AGAIN_S = 1.0
OPEN_TIMEOUT_S = 20.0
SILENT_S = 30.0  # a dom0 whose shell says nothing for so long is asked anew
# A log that is new is followed beside the others: to read them all again would make every VM seem silent for seconds.
# `old` is how many lines were there before we listened.
FOLLOW = """cd /var/log/xen/console || exit 1; seen= first=1
while :; do
  for f in guest-$1-*.log; do
    [ -e "$f" ] || continue
    case " $seen " in *" $f "*) continue;; esac
    seen="$seen $f"; n=${f#guest-}; n=${n%.log}
    [ -z "$first" ] || echo "$n old $(wc -l < "$f")"
    tail -c +1 -F "$f" 2>/dev/null | sed -u "s/^/$n /" &
  done
  first=; echo alive; sleep 1
done"""
LINE = re.compile(r"^(?P<vm>\S+) (?P<word>ack|highest|damaged|old) (?P<number>\d+)\s*$")


class Ear:
    """What one host's consoles have said, line by line. Not bound to a connection; `begin` when there is a new one.

    A log may hold the same line several times: a VM that starts twice finds the same number. So lines are counted.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: Counter[tuple[str, str, int]] = Counter()  # how often it was heard at most
        self._read: Counter[tuple[str, str, int]] = Counter()  # how often over this connection
        self._old: dict[str, int] = {}

    def begin(self) -> None:
        self._old = {}
        self._read.clear()

    def take(self, text: str, at_s: float) -> Heard | None:
        if not text.endswith("\n"):
            return None  # cut off in the middle: half a number is another one
        match = LINE.match(text)
        if match and match["word"] == "old":
            self._old[match["vm"]] = int(match["number"])
            return None
        vm = text.partition(" ")[0]
        late = self._old.get(vm, 0) > 0
        if late:
            self._old[vm] -= 1
        if match is None:
            return None
        key = (vm, match["word"], int(match["number"]))
        self._read[key] += 1
        if late and self._read[key] <= self._known[key]:
            return None
        self._known[key] = max(self._known[key], self._read[key])
        return Heard(at_s, self._host, *key, late=late)


class Listener:
    """`with Listener(lab, "chaos") as listener: … listener.heard()`; hears VMs called PREFIX-SOMETHING."""

    def __init__(self, lab: Lab, prefix: str) -> None:
        self._lab, self._prefix = lab, prefix
        self._heard: list[Heard] = []
        self._line_s: dict[str, float] = {}  # host → when its shell last said anything
        self._lost: dict[str, str] = {}  # host → why its connection ended last
        self._deaf: Exception | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])
        self._thread.join(timeout=15)

    def heard(self) -> list[Heard]:
        with self._lock:
            return list(self._heard)

    def unheard(self) -> str:
        """Hosts that have said nothing for long, and why. Raises RuntimeError when nobody listens any more."""
        if self._deaf is not None:
            raise RuntimeError(f"the consoles are not listened to any more: {self._deaf!r}") from self._deaf
        since_s = time.monotonic() - SILENT_S
        hosts = [host.name for host in self._lab.hosts if self._line_s.get(host.name, 0.0) < since_s]
        return "; ".join(f"{host} says nothing: {self._lost.get(host, 'not connected yet')}" for host in hosts)

    def _run(self) -> None:
        async def all_hosts() -> None:
            self._tasks = [asyncio.create_task(self._follow(host)) for host in self._lab.hosts]
            for task in asyncio.as_completed(self._tasks):
                with contextlib.suppress(asyncio.CancelledError):
                    await task  # an ear that ends by itself is a bug, and not to be passed over

        try:
            self._loop.run_until_complete(all_hosts())
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise it to: `unheard` does
            self._deaf = error

    async def _follow(self, host: Host) -> None:
        ear = Ear(host.name)
        while True:
            lost = "its shell ended"
            try:
                async with Dom0(host, self._lab) as dom0:
                    await self._listen(ear, dom0, host.name)
            except (Dom0Unreachable, asyncssh.Error, OSError) as error:
                lost = str(error) or type(error).__name__  # it is off, or was: that is what this is about
            self._lost[host.name] = lost
            await asyncio.sleep(AGAIN_S)

    async def _listen(self, ear: Ear, dom0: Dom0, host: str) -> None:
        """Until the connection breaks."""
        process = await dom0.open(["sh", "-c", FOLLOW, "sh", self._prefix], timeout_s=OPEN_TIMEOUT_S)
        ear.begin()
        try:
            while line := await asyncio.wait_for(process.stdout.readline(), SILENT_S):
                self._line_s[host] = time.monotonic()
                if one := ear.take(line.decode(errors="replace"), self._line_s[host]):
                    with self._lock:
                        self._heard.append(one)
        finally:
            process.kill()
            process.close()
