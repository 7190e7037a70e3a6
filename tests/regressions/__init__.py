"""One test for each bug or wish that an issue names: the promise is the name of the test."""
