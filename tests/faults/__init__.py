"""Disks that are full or read-only, files that are damaged, gone or hostile."""
