"""Slows a host's LAN: every packet to its dom0, and all to and from its storage VM.

By netem (delay, jitter, loss, rate) where the machine's kernel has it, else by tbf: the rate, and what queues wait for.
What dom0 sends is not slowed.
"""

from __future__ import annotations

from lab import storage_vm
from lab.command import run
from lab.network import links, ports
from lab.topology import Host, Lab

RATE = "20mbit"
NETEM = ("netem", "delay", "20ms", "10ms", "loss", "0.5%", "rate", RATE)
TBF = ("tbf", "rate", RATE, "burst", "64kbit", "latency", "400ms")
TIMEOUT_S = 10


def slow(lab: Lab, host: Host) -> str:
    """What slows it: "netem" or "tbf"."""
    shaper = ""
    for namespace, device in devices(lab, host):
        add = ("tc", "qdisc", "replace", "dev", device, "root")
        if shaper != "tbf" and run([*add, *NETEM], namespace=namespace, timeout_s=TIMEOUT_S, check=False).code == 0:
            shaper = "netem"
            continue
        run([*add, *TBF], namespace=namespace, timeout_s=TIMEOUT_S)
        shaper = "tbf"
    return shaper


def free(lab: Lab, host: Host) -> None:
    """As fast as before. Idempotent."""
    for namespace, device in devices(lab, host):
        words = ["tc", "qdisc", "delete", "dev", device, "root"]
        run(
            words, namespace=namespace, timeout_s=TIMEOUT_S, check=False
        )  # a storage VM that was started since has none


def devices(lab: Lab, host: Host) -> list[tuple[str, str]]:
    """Namespaces and names: the bridge's ports of the host, and the other ends of its storage VMs' wires."""
    inner = [
        (namespace, name)
        for namespace in storage_vm.namespaces(lab, host)
        for name in links(namespace)
        if name.startswith("eth")
    ]
    return [*((lab.namespace, port) for port in ports(lab, host)), *inner]
