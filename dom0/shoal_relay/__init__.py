"""The relay of this host: the driver's short calls find open TLS connections to the volume services in it."""
