"""The link by which a dom0's toolstack finds the container plugin of Shoal's kit."""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import DOM0_PLUGIN, DOM0_PLUGIN_LINK

COMMAND_TIMEOUT_S = 60.0
# $1 the plugin, $2 where the toolstack looks for it. XenServer's container pack puts one there, too: what is there
# already stays.
LINK = """[ -e "$2" ] || [ -h "$2" ] || { mkdir -p "${2%/*}" && ln -s "$1" "$2"; }"""


async def link(dom0: Ssh) -> None:
    await dom0.run(["sh", "-c", LINK, "sh", DOM0_PLUGIN, DOM0_PLUGIN_LINK], timeout_s=COMMAND_TIMEOUT_S)
