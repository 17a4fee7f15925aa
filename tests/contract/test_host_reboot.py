"""`shoal host reboot` against the stand-in, with a machine that obeys its power switch, and its dom0 behind SSH."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from lab.xapi.loopback import LoopbackHost
from tests.contract.test_host_maintenance import Pool, pool
from tests.contract.test_product_look import Dom0

__all__ = ["pool"]
HOST = "xen2"
BOOT = "proc/sys/kernel/random/boot_id"


class Machine:
    """Boots when it is told to reboot. Of all dom0s SSH reaches only this one's."""

    def __init__(self, host: LoopbackHost) -> None:
        self.host = host
        for folder in ("proc/sys/kernel/random", "var/run"):
            (host.root / folder).mkdir(parents=True, exist_ok=True)
        self.is_down = False
        self.port = 0
        self._is_over = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.new_boot()

    @property
    def boot(self) -> str:
        return (self.host.root / BOOT).read_text()

    def new_boot(self) -> None:
        (self.host.root / BOOT).write_text(str(uuid.uuid4()))

    def start(self) -> None:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        threading.Thread(target=self._obey, daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self) -> int:
        key = asyncssh.generate_private_key("ssh-ed25519")
        options = {"server_factory": Dom0, "server_host_keys": [key], "process_factory": self._execute}
        return (await asyncssh.listen(self.host.address, 0, encoding=None, **options)).get_port()

    async def _execute(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if self.is_down:
            process.channel.get_connection().abort()
            return
        command = (process.command or "").replace(" /", f" {self.host.root}/")
        child = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=-1, stderr=-1)
        out, err = await child.communicate()
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(child.returncode or 0)

    def _obey(self) -> None:
        while not self._is_over.wait(0.05):
            if self.host.switched.count("reboot") and not self.is_down:
                self.host.switched.remove("reboot")
                self.is_down = True
                self.host.stop()
                self.host.guests.plans.clear()
                (self.host.root / "var/run/xapi_init_complete.cookie").unlink(missing_ok=True)
                self.new_boot()
                time.sleep(0.5)
                self.is_down = False
                self.host.start()


@pytest.fixture
def machine(pool: Pool, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(pool.toolstack.hosts[HOST])
    made.host.stop()
    made.host.start()  # its toolstack knows that boot
    made.start()
    spec = tmp_path / "shoal.yaml"
    spec.write_text(spec.read_text().replace("port: 1}", f"port: {made.port}}}"))
    yield made
    made.stop()


def test_a_host_reboots_and_is_as_before(pool: Pool, machine: Machine) -> None:
    web = pool.start_vm("web", HOST)
    boot = machine.boot
    code, said = pool.shoal("host", "reboot", HOST, "--dry-run")
    assert code == 0 and "moves web away" in said, said
    assert pool.marks(HOST) == set()

    code, said = pool.shoal("host", "reboot", HOST, "--yes", "--bring-back")
    assert code == 0, said
    assert machine.boot != boot
    assert pool.where(web) == HOST and pool.plugged() == {"xen1", "xen2", "xen3"}
    assert pool.api.host.get_enabled(pool.hosts[HOST]) is True
    assert pool.marks(HOST) == set()


def test_a_reboot_that_was_killed_while_the_host_was_away_is_taken_up(pool: Pool, machine: Machine) -> None:
    boot = machine.boot
    code, said = pool.shoal("host", "maintenance", "enter", HOST, "--yes")
    assert code == 0, said
    # What a run leaves that is killed right after it has told the host to reboot.
    pool.api.host.add_to_other_config(pool.hosts[HOST], "shoal:reboot", boot)
    pool.api.host.reboot(pool.hosts[HOST])

    code, said = pool.shoal("host", "reboot", "--rolling", "--yes")
    assert code == 0, said
    assert "xen1" not in said and "xen3" not in said
    assert machine.boot != boot and machine.host.switched == []
    assert pool.marks(HOST) == set() and pool.plugged() == {"xen1", "xen2", "xen3"}
