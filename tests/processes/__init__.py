"""Many processes and threads at one directory, forks, kills and signals."""
