"""host_metrics: memory, and whether the host is alive."""

from __future__ import annotations

from lab.xapi.model import kind

HOST_METRICS = kind(
    "host_metrics",
    """
    uuid          run  string                  -
    memory_total  run  int                     -
    memory_free   run  int                     0
    live          run  bool                    -
    last_updated  run  datetime                -
    other_config  rw   (string -> string) map  {}
    """,
)
