"""WHAT CHANGES: a pure function of spec and facts. No I/O of any kind; import-linter holds it."""
