"""`bench/growth.py`: a tiny run of it, and the picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
GROWTH = [sys.executable, str(ROOT / "bench" / "growth.py")]
TINY = ["--most", "10000", "--largest", "100", "--calls", "50", "--only", "dolium"]


def test_growth_measures_saves_and_draws(tmp_path):
    subprocess.run([*GROWTH, *TINY, "--out", str(tmp_path)], check=True, timeout=300)
    (saved,) = tmp_path.glob("growth-*.json")
    panels = json.loads(saved.read_text())["panels"]
    for title, axis in (("get, entries", [1000, 10_000]), ("set, bytes", [10, 100])):
        (line,) = panels[title].values()
        assert [place for place, _ in line] == axis
        assert all(cost > 0 for _, cost in line)
    picture = saved.with_suffix(".svg")
    drawn = picture.read_text()
    lines = ElementTree.fromstring(drawn).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(panels) == 6
    picture.unlink()
    subprocess.run([*GROWTH, "--draw", str(saved)], check=True, timeout=60)
    assert picture.read_text() == drawn
