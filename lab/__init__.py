"""A pool of hosts on one machine, for trying Shoal and for its tests. The product never imports it."""
