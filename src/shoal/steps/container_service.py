"""The container service of a storage VM: a systemd unit, as it needs Docker's socket, which no container shall have."""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import VOLUMES_CODE

COMMAND_TIMEOUT_S = 60.0
NAME = "shoal-containers.service"
UNIT = f"/etc/systemd/system/{NAME}"
# Root without root's powers, on a file system it cannot write to: it reads its key, asks Docker and tells systemd.
# That these obey is what it is for, so its own code is all that stands before them.
TEXT = f"""[Unit]
Description=Shoal's container service: tells this host's dom0 of Ceph's containers, and starts and stops them
After=network.target docker.service
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 -ISB {VOLUMES_CODE}/containers/__main__.py --config /etc/shoal/volumes/config.json
Restart=always
RestartSec=5
SyslogIdentifier=shoal-containers
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6

[Install]
WantedBy=multi-user.target
"""
START = """systemctl daemon-reload && systemctl enable --quiet "$1" && systemctl restart "$1" """


async def start(guest: Ssh) -> None:
    """Restarted if it runs: it has the old files loaded."""
    await guest.write_file(UNIT, TEXT.encode())
    await guest.run(["sh", "-c", START, "sh", NAME], timeout_s=COMMAND_TIMEOUT_S)


async def look(guest: Ssh) -> str:
    """What is wrong with it, "" when it runs."""
    done = await guest.run(["systemctl", "is-active", NAME], timeout_s=COMMAND_TIMEOUT_S, check=False)
    state = done.stdout.strip()
    return "" if state == "active" else f"{NAME} is {state or 'unknown'}; journalctl -u {NAME} there says why"
