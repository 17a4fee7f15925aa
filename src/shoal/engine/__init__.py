"""Carrying out a plan: who may (lock), in which order and how many at once (executor), what was done (journal)."""
