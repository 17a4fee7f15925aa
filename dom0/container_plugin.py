#!/usr/bin/python3 -IS
# The toolstack's plugin `xscontainer`, by a link from /etc/xapi.d/plugins. All it does is in the package.
import sys

sys.path.insert(0, "/opt/shoal/dom0")

from shoal_keeper.container_calls import main

sys.exit(main(sys.argv))
