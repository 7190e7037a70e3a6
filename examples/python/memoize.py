"""A slow function stores its results in a cache, so a second process computes nothing."""

import subprocess
import sys
import tempfile
import time

from dolium import Cache


def main(directory: str) -> None:
    with Cache(directory) as cache:

        @cache.memoize(expire=3600, tag="squares")
        def square(number: int) -> int:
            time.sleep(0.01)
            cache.incr("computed")
            return number * number

        print([square(number) for number in range(10)], "computed:", cache["computed"])
        assert cache["computed"] == 10


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(2):
                subprocess.run([sys.executable, __file__, directory], check=True)
