"""One file for each module of the package: what its classes and functions promise."""
