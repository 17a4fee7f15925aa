"""console: where a VM's console would be. The lab's own way to it is `shoal-lab console`."""

from __future__ import annotations

from lab.xapi.model import kind

CONSOLE = kind(
    "console",
    """
    uuid          run  string                  -
    protocol      run  enum console_protocol   -
    location      run  string                  -
    VM            run  VM ref                  -
    other_config  rw   (string -> string) map  -
    """,
)
