"""dash, whose long callbacks keep their results in a diskcache."""

from __future__ import annotations

from helpers.programs import program


def test_dash_checks_the_class(tmp_path):
    program(
        """
        import diskcache, pickle
        cache = diskcache.Cache(sys.argv[1])
        fanout = diskcache.FanoutCache(sys.argv[1] + "-fan")
        assert isinstance(cache, (diskcache.Cache, diskcache.FanoutCache))
        assert isinstance(fanout, (diskcache.Cache, diskcache.FanoutCache))
        assert diskcache.__name__ in ("diskcache", "dolium")
        for handle in (cache, fanout):
            with handle.transact():
                handle.set("job", b"running")
                assert handle.get("job", "none") == b"running"
            assert handle.touch("job", expire=60) is True
            handle.delete("job")
        def job(cache):
            with diskcache.Lock(cache, "lock"):
                cache.set("progress", 1)
        pid = os.fork()
        if pid == 0:
            job(cache)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert cache["progress"] == 1
        again = pickle.loads(pickle.dumps(cache))
        assert isinstance(again, diskcache.Cache) and again["progress"] == 1
        """,
        tmp_path / "cache",
    )
