"""How what Shoal made goes again: a step for each kind in plan/destroy. Never touches what is not Shoal's."""
