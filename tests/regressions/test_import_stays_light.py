"""`import dolium` loads what every program needs, and leaves the rest until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATE = {
    "of the standard library": """
        argparse ast asyncio concurrent copy dataclasses dis difflib email hashlib http importlib.metadata
        importlib.resources importlib.util inspect linecache logging multiprocessing pathlib pickletools queue
        selectors shutil signal socket ssl string subprocess symtable sysconfig tempfile textwrap token tokenize
        traceback typing_extensions unittest urllib uuid zipfile zoneinfo
    """,
    "of other libraries": "django numpy pandas polars pyarrow pydantic attr attrs torch jax scipy PIL greenlet gevent",
    "of dolium": """
        dolium.djangocache dolium.functions.arrays dolium.functions.asynchronous dolium.functions.background
        dolium.functions.binding dolium.functions.cached dolium.functions.calls dolium.functions.decorator
        dolium.functions.failures dolium.functions.fingerprint dolium.functions.generators dolium.functions.key
        dolium.functions.missing dolium.functions.modes dolium.functions.renewal dolium.functions.results
        dolium.functions.mapping dolium.functions.standard dolium.functions.term dolium.functions.version
        dolium.functions.wrapper dolium.jobs
    """,
}


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded, beside those of a bare interpreter."""
    body = f"import sys; before = set(sys.modules); {program}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("kind", LATE)
def test_importing_dolium_leaves_for_later_what_is(kind: str):
    assert not loaded("import dolium") & set(LATE[kind].split())


def test_opening_and_reading_a_cache_load_no_functions():
    program = "import dolium; c = dolium.Cache(); c['a'] = 1; c['a'], c.get('b'); c.close()"
    assert not loaded(program) & {
        "ast",
        "asyncio",
        "inspect",
        "dolium.functions.cached",
        "dolium.functions.version",
    }


def test_every_public_name_can_be_had():
    program = "import dolium; [getattr(dolium, name) for name in dolium.__all__]"
    assert "dolium.functions.version" in loaded(program)
