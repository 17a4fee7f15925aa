"""WHAT IS WANTED: the model of shoal.yaml, loading it with line and column, and checks within the spec alone."""
