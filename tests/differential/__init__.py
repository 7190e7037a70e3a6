"""dolium beside the real diskcache 5.6.3, which always runs in a process of its own.

Two copies of SQLite must never share a live file in one process: the locks of one are dropped when the
other closes its descriptor.
"""
