"""The lab's network: one namespace with the LAN's bridge, a tap per host, a private wire (channel) per host.

`cut` takes a host off the LAN as a pulled cable does; its channel, which only the lab uses, stays. Nothing has a route
out. Must not know what runs on the hosts.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterable
from typing import Any

from lab.command import NAMESPACES, CommandError, run
from lab.topology import BRIDGE, WORKSTATION, Host, Lab

CLONE_NEWNET = 0x40000000
NFT_TABLE = "lab"


def setns(descriptor: int) -> None:
    """Move the calling thread into the network namespace of an open file."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}; this needs root")


def enter(lab: Lab) -> None:
    """Move the calling thread into the lab's network: from there the hosts can be reached."""
    path = NAMESPACES / lab.namespace
    if not path.exists():
        raise CommandError(f"the lab in {lab.dir} has no network; make it with: shoal-lab up")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        setns(descriptor)
    finally:
        os.close(descriptor)


def build(lab: Lab) -> None:
    """Make what is missing of the lab's network."""
    if not (NAMESPACES / lab.namespace).exists():
        run(["ip", "netns", "add", lab.namespace], timeout_s=10)
    present = _links(lab)
    lines = ["link set lo up"]
    if BRIDGE not in present:
        lines += [f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
        lines += [f"address add {WORKSTATION}/24 dev {BRIDGE}", f"link set {BRIDGE} up"]
    for host in lab.hosts:
        lines += _host_lines(host, present)
    _batch(lab, lines)
    for host in lab.hosts:
        if host.tap not in present:
            heal(lab, host)
    _write_short_ways(lab)


def destroy(lab: Lab) -> None:
    """Remove the namespace with all that is in it. What still runs inside must have been ended before."""
    if (NAMESPACES / lab.namespace).exists():
        run(["ip", "netns", "delete", lab.namespace], timeout_s=10)


def cut(lab: Lab, host: Host) -> None:
    """Pull the host's LAN cable."""
    run(["ip", "link", "set", host.tap, "nomaster", "down"], timeout_s=10, namespace=lab.namespace)
    _write_short_ways(lab)


def heal(lab: Lab, host: Host) -> None:
    """Plug the host's LAN cable in again."""
    run(["ip", "link", "set", host.tap, "master", BRIDGE, "up"], timeout_s=10, namespace=lab.namespace)
    _write_short_ways(lab)


def is_cut(lab: Lab, host: Host) -> bool:
    link = _links(lab).get(host.tap, {})
    return link.get("master") != BRIDGE


def _host_lines(host: Host, present: Iterable[str]) -> list[str]:
    lines = [f"tuntap add dev {tap} mode tap" for tap in (host.tap, host.channel_tap) if tap not in present]
    if host.channel_tap not in present:
        lines.append(f"address add {host.channel_lab}/24 dev {host.channel_tap}")
        lines.append(f"link set {host.channel_tap} up")
    return lines


def _batch(lab: Lab, lines: list[str]) -> None:
    run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", timeout_s=20, namespace=lab.namespace)


def _links(lab: Lab) -> dict[str, dict[str, Any]]:
    shown = run(["ip", "-json", "link", "show"], timeout_s=10, namespace=lab.namespace).stdout
    return {link["ifname"]: link for link in json.loads(shown)}


def _write_short_ways(lab: Lab) -> None:
    """The workstation reaches a toolstack directly: an image import must not crawl through an emulated CPU.

    Everyone else's packets go through dom0. A host that is cut off has no short way, and what its toolstack sends from
    its own address (the lab's end of the channel) reaches nobody but its own dom0.
    """
    links = _links(lab)
    plugged = [host for host in lab.hosts if links.get(host.tap, {}).get("master") == BRIDGE]
    ways = [f"ip daddr {host.address} tcp dport 443 dnat to {host.channel_lab}:443" for host in plugged]
    walls = [
        f"ip saddr {host.channel_lab} ip daddr != {{ {host.channel_lab}, {host.channel_dom0} }} drop"
        for host in lab.hosts
        if host not in plugged
    ]
    rules = [
        f"table ip {NFT_TABLE} {{}}",
        f"delete table ip {NFT_TABLE}",
        f"table ip {NFT_TABLE} {{",
        *("chain ways {", "type nat hook output priority -100;", *ways, "}"),
        *("chain walls {", "type filter hook output priority 0;", *walls, "}"),
        "}",
    ]
    run(["nft", "--file", "-"], input="\n".join(rules) + "\n", timeout_s=10, namespace=lab.namespace)
