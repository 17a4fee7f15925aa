"""`make bench`: all figures as one JSON document. Each part is a program of its own and can be run alone."""

from __future__ import annotations

import json
import subprocess
import sys

PARTS = {"driver": "tests.bench.driver", "apply": "tests.bench.apply"}


def main() -> int:
    figures, code = {}, 0
    for name, module in PARTS.items():
        done = subprocess.run([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            code = 1
            figures[name] = {"failed": f"{module} ended with {done.returncode}; its last words are above"}
        else:
            figures[name] = json.loads(done.stdout)
    print(json.dumps(figures, indent=2))
    return code


if __name__ == "__main__":
    sys.exit(main())
