"""AutoGen, which passes a number as directory."""

from __future__ import annotations

from helpers.programs import program


def test_autogen_uses_a_number_as_directory(tmp_path):
    program(
        """
        import diskcache
        os.chdir(sys.argv[1])
        with diskcache.Cache(41) as cache:
            cache.set("k", {"config": [1]})
            assert cache.get("k", None) == {"config": [1]}
        assert os.path.isdir("41")
        """,
        tmp_path,
    )
