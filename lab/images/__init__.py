"""The images a lab boots from, each made from Debian's packages and kept in the cache."""
