"""One contract for every face of the cache.

A test here says what any cache must do. It runs on each face of `backends.FACES` that has the abilities
the test needs (`@pytest.mark.needs`), so a new face is one line there. Each ends with `check()`.
"""
