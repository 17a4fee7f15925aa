"""What must go so that a pool is as it was before Shoal. Pure, as the rest of plan/."""
