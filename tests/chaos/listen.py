"""Hears what the witnesses say, on every host at once, with the time at which each line arrived.

One connection a host, over the lab's own wire to dom0, so that no fault on the LAN makes us deaf; a host that dies
takes it along, and is listened to again when it is back. A console's log is then read from its beginning: what was said
meanwhile is heard late, not lost, and marked so; what was heard before is passed over. An hour's log has ten thousand
lines, with which the emulated host would be busy for minutes while it boots: of old ones, it sends ranges.
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
# The first `count` lines of a log were there before we listened.
SUM_UP = r"""
function flush() { if (last) print vm, "old", "ack", first, last; last = 0 }
NR > count { exit }
$1 == "ack" && NF == 2 { if (!last || $2 + 0 != last + 1) { flush(); first = $2 + 0 } last = $2 + 0; next }
NF == 2 && ($1 == "highest" || $1 == "damaged") { flush(); print vm, "old", $1, $2 + 0, $2 + 0 }
END { flush() }"""
FOLLOW = """cd /var/log/xen/console || exit 1; seen= first=1
while :; do
  for f in guest-$1-*.log; do
    [ -e "$f" ] || continue
    case " $seen " in *" $f "*) continue;; esac
    seen="$seen $f"; n=${f#guest-}; n=${n%.log}; old=0
    if [ -n "$first" ]; then old=$(wc -l < "$f"); awk -v vm="$n" -v count="$old" "$2" "$f"; fi
    tail -n "+$((old + 1))" -F "$f" 2>/dev/null | sed -u "s/^/$n /" &
  done
  first=; echo alive; sleep 1
done"""
LINE = re.compile(r"^(?P<vm>\S+) (?P<word>ack|highest|damaged) (?P<number>\d+)\s*$")
OLD = re.compile(r"^(?P<vm>\S+) old (?P<word>ack|highest|damaged) (?P<first>\d+) (?P<last>\d+)\s*$")


class Ear:
    """What one host's consoles have said, line by line. Not bound to a connection; `begin` when there is a new one.

    A log may hold the same line several times: a VM that starts twice finds the same number. So lines are counted.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: Counter[tuple[str, str, int]] = Counter()  # how often it was heard at most
        self._read: Counter[tuple[str, str, int]] = Counter()  # how often over this connection

    def begin(self) -> None:
        self._read.clear()

    def take(self, text: str, at_s: float) -> list[Heard]:
        if not text.endswith("\n"):
            return []  # cut off in the middle: half a number is another one
        if match := OLD.match(text):
            numbers = range(int(match["first"]), int(match["last"]) + 1)
        elif match := LINE.match(text):
            numbers = range(int(match["number"]), int(match["number"]) + 1)
        else:
            return []
        late, heard = match.re is OLD, []
        for number in numbers:
            key = (match["vm"], match["word"], number)
            self._read[key] += 1
            if not late or self._read[key] > self._known[key]:
                self._known[key] = max(self._known[key], self._read[key])
                heard.append(Heard(at_s, self._host, *key, late=late))
        return heard


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
        process = await dom0.open(["sh", "-c", FOLLOW, "sh", self._prefix, SUM_UP], timeout_s=OPEN_TIMEOUT_S)
        ear.begin()
        try:
            while line := await asyncio.wait_for(process.stdout.readline(), SILENT_S):
                self._line_s[host] = time.monotonic()
                if found := ear.take(line.decode(errors="replace"), self._line_s[host]):
                    with self._lock:
                        self._heard += found
        finally:
            process.kill()
            process.close()
