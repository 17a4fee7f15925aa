"""The command line: one file per verb, and render.py for what a person sees."""
