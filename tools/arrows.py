"""Checks that the folders are the architecture: arrows point down, no circle, no file or struct that is too large.

An arrow is a path `crate::<module>` in the production code of a Rust crate. Where a crate has floors, a module may
name its own floor and those below. Where it has none, the modules beside `lib.rs` may name each other, but not in a
circle. What `lib.rs` and `main.rs` name does not count. import-linter does the same for Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# The highest floor first.
FLOORS = {
    "dolium": ["cache", "store", "flight", "sqlite", "value", "system"],
    "dolium-hot": ["writer", "tier", "lease", "log", "layout", "lock", "system"],
    "dolium-python": [],
    "dolium-cli": [],
}
# Lines, tests at the end of the file not counted.
LONGEST = 500
# Fields of a struct. One with more belongs to several things.
MOST = 15

Arrows = dict[str, dict[str, str]]


def production(path: Path) -> str:
    """The text of a file without its tests and comments."""
    text = path.read_text().partition("#[cfg(test)]\nmod tests {")[0]
    return re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)


def sources(crate: str) -> Iterator[tuple[Path, Path]]:
    """The files of a crate that are production code, each with its path below `src`."""
    source = Path("crates", crate, "src")
    for path in sorted(source.rglob("*.rs")):
        below = path.relative_to(source)
        if "tests" not in below.parts and below.stem not in ("tests", "model"):
            yield path, below


def arrows(crate: str) -> Arrows:
    """What each module beside `lib.rs` names, with a file that does."""
    found: Arrows = {}
    for path, below in sources(crate):
        if below.name in ("lib.rs", "main.rs"):
            continue
        module = below.parts[0].removesuffix(".rs")
        text = production(path)
        names = re.findall(r"\bcrate::(\w+)", text)
        names += [
            name
            for group in re.findall(r"\bcrate::\{([^;]*)\};", text)
            for name in re.findall(r"(\w+)::", group)
        ]
        if len(below.parts) == 1:
            names += re.findall(r"^use super::(\w+)", text, flags=re.MULTILINE)
        own = found.setdefault(module, {})
        for name in names:
            if name != module:
                own.setdefault(name, str(path))
    modules = set(found)
    return {
        module: {name: path for name, path in own.items() if name in modules} for module, own in found.items()
    }


def upward(crate: str, floors: list[str], drawn: Arrows) -> Iterator[str]:
    """The arrows that point up, and the modules without a floor."""
    for module, own in drawn.items():
        if module not in floors:
            yield f"crates/{crate}/src/{module}: is on no floor; name it in tools/arrows.py"
            continue
        for name, path in own.items():
            if name in floors and floors.index(name) < floors.index(module):
                yield f"{path}: {module} names {name}, which stands above it"


def circle(drawn: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """A circle of modules, if there is one."""
    try:
        TopologicalSorter({module: own.keys() for module, own in drawn.items()}).prepare()
    except CycleError as error:
        names = [str(name) for name in error.args[1]][::-1]
        yield f"{drawn[names[0]][names[1]]}: closes a circle: {' → '.join(names)}"


def large_structs(path: Path) -> Iterator[str]:
    """The structs of a file that have too many fields. rustfmt writes one field a line, and closes each struct."""
    structs = r"^( *)(?:pub(?:\([^)]*\))? )?struct (\w+)[^;{]*\{\n(.*?)^\1\}"
    for match in re.finditer(structs, production(path), flags=re.MULTILINE | re.DOTALL):
        indent, name, body = match.groups()
        fields = re.findall(rf"^{indent}    (?:pub(?:\([^)]*\))? )?\w+: ", body, flags=re.MULTILINE)
        if len(fields) > MOST:
            yield f"{path}: struct {name} has {len(fields)} fields, more than {MOST}; split it by what they belong to"


def main() -> int:
    """Prints what is wrong, one line each."""
    wrong: list[str] = []
    for crate, floors in FLOORS.items():
        drawn = arrows(crate)
        wrong += upward(crate, floors, drawn) if floors else circle(drawn)
        for path, _ in sources(crate):
            wrong += large_structs(path)
            length = path.read_text().partition("#[cfg(test)]\nmod tests {")[0].count("\n")
            if length > LONGEST:
                wrong.append(f"{path}: has {length} lines, more than {LONGEST}; split it")
    for path in sorted(Path("python").rglob("*.py")):
        if (length := path.read_text().count("\n")) > LONGEST:
            wrong.append(f"{path}: has {length} lines, more than {LONGEST}; split it")
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
