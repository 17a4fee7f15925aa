#!/usr/bin/python3 -IS
# Maps the images that SRs of type `lvm` lie on: `map_images.py boot|retry|now|check`. All it does is in the package.
import sys

sys.path.insert(0, "/opt/shoal/dom0")

from shoal_dom0.mapper import main

sys.exit(main(sys.argv))
