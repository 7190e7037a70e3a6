"""Programs that users run: those that will switch from diskcache, and the examples of the documents."""
