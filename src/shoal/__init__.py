"""Shoal: one shared, replicated storage repository from the local disks of a XenServer or XCP-ng pool."""

__version__ = "0.1.0"
