"""Requests and answers as bad as they come, for the driver in this very process. `make fuzz` looks for more of them."""
