"""One test for each bug of diskcache, and each wish of its users, that dolium promises to have settled."""
