"""Carries out a plan: the executor (a graph, hosts in parallel), the journal (a record, never the truth), the lock."""
