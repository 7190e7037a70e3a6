"""One contract for every backend of the cache.

A test here says what any cache must do. It runs on each backend of `backends.BACKENDS` that has the abilities
the test needs (`@pytest.mark.needs`), so a new backend is one line there. Each ends with `check()`.
`make test` runs the backends that differ in code, `make test-all` those that repeat the code of another as well.
"""
