"""The first calls of wrapped functions, on many threads of a fresh process at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import Child

# The list begins its lines at the margin, so the file cannot be cut into its statements and is parsed as a whole.
MODULE = """
    from tried{next} import clean as wash, Shape as Other

    TABLE = [
    {number},
    2,
    ]
    SEEN = {{}}
    LIMIT = {number}

    def clean(x):
        return [x, *TABLE, LIMIT]

    class Shape:
        side = {number}

        def area(self):
            return self.side * LIMIT

        def grow(self):
            SEEN[self.side] = clean(self.side)

    def first(x):
        return wash(x), clean(x), Shape().area(), len(SEEN), Other

    def second(x):
        return Shape().grow() or TABLE[0] + x
"""

PROGRAM = """
    import dolium
    sys.path.insert(0, sys.argv[2])
    cache = dolium.Cache(sys.argv[1])
    threads, several = int(sys.argv[3]), sys.argv[4] == "several"
    modules = [__import__(f"tried{number}") for number in range(4 if several else 1)]
    functions = [cache.cached(f) for module in modules for f in (module.first, module.second)]
    if not several:
        functions = functions[:1]
    sys.setswitchinterval(1e-6)
    start, failures, versions = threading.Barrier(threads), [], {}
    def work(number):
        start.wait()
        for step in range(len(functions)):
            f = functions[(number + step) % len(functions)]
            try:
                f(number % 5)
                versions.setdefault(f.__module__ + f.__name__, set()).add(f.version)
            except BaseException as error:
                failures.append(repr(error))
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    say(len(failures), failures[:2])
    say(sorted((name, sorted(found)) for name, found in versions.items()))
"""


@pytest.mark.parametrize("functions", ["one", "several"])
def test_first_calls_on_many_threads_agree_with_one_thread(tmp_path: Path, functions: str):
    for number in range(4):
        text = MODULE.format(number=number, next=(number + 1) % 4).replace("\n    ", "\n")
        if number == 3:  # imports may not go round
            text = text.replace("from tried0 import clean as wash, Shape as Other", "wash = Other = str")
        (tmp_path / f"tried{number}.py").write_text(text)

    def lines(run: int, threads: int) -> list[str]:
        with Child(PROGRAM, tmp_path / f"cache{run}", tmp_path, threads, functions) as child:
            found = [child.line(), child.line()]
            child.finish()
        return found

    alone = lines(0, 1)
    assert alone[0] == "0 []"
    for run in range(1, 4):
        assert lines(run, 64) == alone
