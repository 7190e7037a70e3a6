"""Functions that remember: key, version, term and flight, each in one module."""
