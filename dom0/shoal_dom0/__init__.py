"""What Shoal installs in dom0: the SM driver `rbd`.

Python 3.6 and its standard library only, and as little of that as possible: it is started anew for every call of xapi.
"""
