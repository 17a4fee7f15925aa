"""HOW: one file per kind of action, each with `apply` and `verify`. Steps are idempotent: find, then create or mend."""
