"""The only I/O: XenAPI, SSH and Ceph, each with time-outs everywhere and errors of our own.

Library exceptions stop here. A client carries no knowledge of what Shoal wants; steps and observe have that.
"""
