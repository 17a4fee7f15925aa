"""The command line: one file per verb, render.py and progress.py for what a person sees, door.py for how it ends."""

from shoal.cli.program import app, main

__all__ = ["app", "main"]
