"""Things with no knowledge of the domain: errors, secrets, waiting, sizes, atomic files."""
