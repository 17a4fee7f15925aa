"""SM: the storage drivers that the pool knows, as found when each toolstack started."""

from __future__ import annotations

from lab.xapi.model import kind

SM = kind(
    "SM",
    """
    uuid                    run  string                  -
    name_label              run  string                  ""
    name_description        run  string                  ""
    type                    run  string                  -
    vendor                  run  string                  -
    copyright               run  string                  -
    version                 run  string                  -
    required_api_version    run  string                  -
    configuration           run  (string -> string) map  -
    capabilities            run  string set              {}
    features                run  (string -> int) map     {}
    other_config            rw   (string -> string) map  {}
    driver_filename         run  string                  ""
    required_cluster_stack  run  string set              {}
    """,
)
