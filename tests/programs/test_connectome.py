"""connectome, whose values are directories."""

from __future__ import annotations

from helpers.programs import program


def test_connectome_stores_directories(tmp_path):
    """A Disk whose values are directories of the user's making."""
    program(
        """
        import shutil, diskcache
        from pathlib import Path
        from diskcache import Disk, Cache
        from diskcache.core import MODE_BINARY, UNKNOWN

        class Folders(Disk):
            def put(self, key): return key, True
            def get(self, key, raw): raise NotImplementedError
            def store(self, value, read, key=UNKNOWN):
                name = f"folder-{key}"
                folder = Path(self._directory) / name
                folder.mkdir(exist_ok=True)
                for part, text in value.items():
                    (folder / part).write_text(text)
                return sum(map(len, value.values())), MODE_BINARY, name, None
            def fetch(self, mode, filename, value, read):
                assert mode == MODE_BINARY
                return {path.name: path.read_text() for path in (Path(self._directory) / filename).iterdir()}
            def remove(self, filename):
                shutil.rmtree(Path(self._directory) / filename)

        cache = Cache(sys.argv[1], size_limit=float("inf"), cull_limit=0, disk=Folders)
        cache["a"] = {"one": "1", "two": "2"}
        cache["b"] = {"one": "1"}
        assert cache["a"] == {"one": "1", "two": "2"} and "b" in cache
        folder = Path(sys.argv[1]) / "folder-b"
        assert folder.is_dir()
        del cache["b"]
        cache.close()
        assert not folder.exists() and cache["a"]["two"] == "2"
        try:
            list(cache)
        except NotImplementedError:
            pass
        """,
        tmp_path,
    )
