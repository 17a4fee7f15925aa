"""Faults, one after the other, on a whole lab under load: nothing acknowledged is lost, and it mends itself."""
