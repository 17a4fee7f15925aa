"""The volume service's HTTPS server on a port of its own, for the dom0 of one host and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from volumes import clients, containers
from volumes.config import Config
from volumes.errors import ServiceError
from volumes.server import Answer, Server


class OwnHostsServer(Server):
    """Certificates of the other hosts are good for the volume service, and for nothing here."""

    def __init__(self, config: Config, answer: Answer) -> None:
        if not config.host:
            raise ValueError("the configuration names no host whose dom0 may ask")
        self._host = config.host
        super().__init__(config, answer)

    def admit(self, connection: Any) -> None:
        if clients.common_names(connection.getpeercert()) != [self._host]:
            raise ServiceError(403, "forbidden", f"only the dom0 of {self._host} may ask here")


def make_server(config: Config, answer: Answer) -> OwnHostsServer:
    return OwnHostsServer(replace(config, port=containers.PORT), answer)
