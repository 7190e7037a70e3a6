"""Functions that remember: key, version, term and flight, each in one module.

Nothing is imported here, because `import dolium` imports this package's parts one by one.
"""
