"""The keeper: a loop in each dom0 that looks, decides, acts, and says in one sentence what it did or why nothing."""
