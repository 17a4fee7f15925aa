"""The link by which a dom0's toolstack finds the container plugin of Shoal's kit: a piece of the kit's installation."""

# $1 the plugin, $2 where the toolstack looks for it. XenServer's container pack puts one there, too: what is there
# already stays.
LINK = """[ -e "$2" ] || [ -h "$2" ] || { mkdir -p "${2%/*}" && ln -s "$1" "$2"; }"""
