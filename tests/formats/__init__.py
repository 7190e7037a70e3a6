"""Directories that released versions wrote still open."""
