"""The lab's network: one namespace with the LAN's bridge, a tap per host, a private wire (channel) per host.

`cut` takes a host off the LAN as a pulled cable does; its channel, which only the lab uses, stays. Nothing has a route
out. Must not know what runs on the hosts.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable
from typing import Any

from lab.command import NAMESPACES, run
from lab.namespace import enter
from lab.topology import BRIDGE, WORKSTATION, Host, Lab

NFT_TABLE = "lab"


def build(lab: Lab) -> None:
    """Make what is missing of the lab's network."""
    if not (NAMESPACES / lab.namespace).exists():
        run(["ip", "netns", "add", lab.namespace], timeout_s=10)
    present = links(lab.namespace)
    lines = ["link set lo up"]
    if BRIDGE not in present:
        lines += [f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
    lines += [f"address replace {WORKSTATION}/24 dev {BRIDGE}", f"link set {BRIDGE} up"]
    for host in lab.hosts:
        lines += _host_lines(host, present)
    _batch(lab, lines)
    for host in lab.hosts:
        if _island(host) not in present:
            heal(lab, host)
    _write_short_ways(lab)


def cut(lab: Lab, host: Host) -> None:
    """Pull the host's LAN cable: dom0 and its own storage VMs still see each other, and nobody else."""
    island = _island(host)
    if island not in links(lab.namespace):
        _batch(lab, [f"link add {island} type bridge stp_state 0 forward_delay 0", f"link set {island} up"])
    _batch(lab, [f"link set {port} master {island}" for port in ports(lab, host)])
    _write_short_ways(lab)


def heal(lab: Lab, host: Host) -> None:
    """Plug the host's LAN cable in again."""
    _batch(lab, [f"link set {port} master {BRIDGE} up" for port in ports(lab, host)])
    if _island(host) in links(lab.namespace):
        _batch(lab, [f"link delete {_island(host)}"])
    _write_short_ways(lab)


def is_cut(lab: Lab, host: Host) -> bool:
    return _island(host) in links(lab.namespace)


def connect(lab: Lab, address: str, port: int, *, timeout_s: float) -> socket.socket:
    """A TCP connection made inside the lab's network by a thread that goes there for it."""
    made: list[socket.socket] = []
    failed: list[Exception] = []

    def go() -> None:
        try:
            enter(lab)  # this thread alone, which ends here
            made.append(socket.create_connection((address, port), timeout_s))
        except (OSError, RuntimeError) as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _island(host: Host) -> str:
    return f"island-{host.name}"


def ports(lab: Lab, host: Host) -> list[str]:
    """dom0's tap and the ports of the host's storage VMs."""
    return [name for name in links(lab.namespace) if name == host.tap or name.startswith(f"vm{host.index}-")]


def _host_lines(host: Host, present: Iterable[str]) -> list[str]:
    lines = [f"tuntap add dev {tap} mode tap" for tap in (host.tap, host.channel_tap) if tap not in present]
    lines.append(f"address replace {host.channel_lab}/24 dev {host.channel_tap}")
    lines.append(f"link set {host.channel_tap} up")
    return lines


def _batch(lab: Lab, lines: list[str]) -> None:
    run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", timeout_s=20, namespace=lab.namespace)


def links(namespace: str) -> dict[str, dict[str, Any]]:
    """The network interfaces in a namespace."""
    shown = run(["ip", "-json", "link", "show"], timeout_s=10, namespace=namespace).stdout
    return {link["ifname"]: link for link in json.loads(shown)}


def _write_short_ways(lab: Lab) -> None:
    """The workstation reaches a toolstack directly: an image import must not crawl through an emulated CPU.

    Everyone else's packets go through dom0. A host that is cut off has no short way, and what its toolstack sends from
    its own address (the lab's end of the channel) reaches nobody but its own dom0.
    """
    present = links(lab.namespace)
    plugged = [host for host in lab.hosts if _island(host) not in present]
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
