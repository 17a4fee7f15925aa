"""Hears what the witnesses say, on every host at once, with the time at which each line arrived.

One `tail` a host, over the lab's own wire to dom0, so that no fault on the LAN makes us deaf; a host that dies takes
its tail with it, and is listened to again when it is back. A console's log is then read from its beginning: lines that
were said meanwhile are heard late, not lost. A witness says no line twice on one host: what was heard is passed over.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import threading
import time

from lab.dom0 import Dom0, Dom0Unreachable
from lab.topology import Host, Lab
from tests.chaos.judge import Heard

AGAIN_S = 1.0
OPEN_TIMEOUT_S = 20.0
SILENT_S = 30.0  # a dom0 whose tail says nothing for so long is asked anew
FOLDER = "/var/log/xen/console"
# One file after the other would need headers to be told apart: so each line carries its VM's name.
FOLLOW = f"""cd {FOLDER} || exit 1; for f in guest-$1-*.log; do
[ -e "$f" ] || continue; n=${{f#guest-}}; tail -c +1 -F "$f" 2>/dev/null | sed -u "s/^/${{n%.log}} /" & done
while :; do echo alive; sleep 5; done"""
LINE = re.compile(r"^(?P<vm>\S+) (?P<word>ack|highest|damaged) (?P<number>\d+)\s*$")


class Listener:
    """`with Listener(lab, "chaos") as listener: … listener.heard()`; hears VMs called PREFIX-SOMETHING."""

    def __init__(self, lab: Lab, prefix: str) -> None:
        self._lab, self._prefix = lab, prefix
        self._heard: list[Heard] = []
        self._known: set[tuple[str, ...]] = set()
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

    def _run(self) -> None:
        async def all_hosts() -> None:
            self._tasks = [asyncio.create_task(self._follow(host)) for host in self._lab.hosts]
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._loop.run_until_complete(all_hosts())

    async def _follow(self, host: Host) -> None:
        while True:
            try:
                async with Dom0(host, self._lab) as dom0:
                    await self._listen(host, dom0)
            except (Dom0Unreachable, OSError, TimeoutError):
                pass  # it is off, or was: that is what this is about
            await asyncio.sleep(AGAIN_S)

    async def _listen(self, host: Host, dom0: Dom0) -> None:
        """Until the connection breaks. A console's log that is new is noticed by asking anew now and then."""
        files = await self._files(dom0)
        argv = ["sh", "-c", FOLLOW, "sh", self._prefix]
        process = await dom0.open(argv, timeout_s=OPEN_TIMEOUT_S)
        try:
            while True:
                line = await asyncio.wait_for(process.stdout.readline(), SILENT_S)
                if not line:
                    return
                text = line.decode(errors="replace")
                if text.strip() == "alive":
                    if await self._files(dom0) != files:
                        return
                    continue
                self._take(host.name, text)
        finally:
            process.kill()
            process.close()

    async def _files(self, dom0: Dom0) -> str:
        pattern = f"{FOLDER}/guest-{shlex.quote(self._prefix)}-*.log"
        return (await dom0.run(["sh", "-c", f"ls -i {pattern} 2>/dev/null"], timeout_s=OPEN_TIMEOUT_S)).stdout

    def _take(self, host: str, text: str) -> None:
        match = LINE.match(text)
        if match is None or (key := (host, *match.groups())) in self._known:
            return
        self._known.add(key)
        with self._lock:
            self._heard.append(Heard(time.monotonic(), host, match["vm"], match["word"], int(match["number"])))
