"""A storage VM asks for names and tells none: systemd-resolved's own port, open to the whole network, is closed."""

from __future__ import annotations

from shoal.clients.ssh import Ssh

COMMAND_TIMEOUT_S = 60.0
FILE = "/etc/systemd/resolved.conf.d/shoal.conf"
TEXT = "[Resolve]\nLLMNR=no\nMulticastDNS=no\n"
# An image may do without it, or have it off. Not restarted in vain: systemd refuses the sixth time in ten seconds.
RESTART = """systemctl --quiet is-active "$1" && [ -n "$(ss -Hlntu 'sport = :5355')" ] || exit 0
systemctl restart "$1" """


async def close(guest: Ssh) -> None:
    """Not by the config drive: what a VM was made from must stay as it was."""
    await guest.write_file(FILE, TEXT.encode())
    await guest.run(["sh", "-c", RESTART, "sh", "systemd-resolved.service"], timeout_s=COMMAND_TIMEOUT_S)
