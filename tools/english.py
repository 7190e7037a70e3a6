"""Finds sentences that a reader must solve: without a subject that acts, with a letter as a noun, or too long.

Reads Markdown, Rust doc comments, docstrings and messages. Fails if a folder has more such places than its budget, and
if it has fewer, because a budget only falls. Lists the places of such a folder, and with `-v` those of all.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BUDGETS = {
    "crates/dolium/": 1,
    "crates/dolium-cli/": 10,
    "crates/dolium-hot/": 1,
    "crates/dolium-python/": 15,
    "python/": 3,
    "tests/README.md": 0,
    "tests/": 31,
    "": 0,  # the other Markdown and folders
}
VERB = r"(?:may|can|must|had|are|were|[a-z]+s)\b"
FAULTS = re.compile(
    rf"(?:^|[.;:|*] )Who {VERB}(?![^.]*\?)|\b[Ww]hoever\b|\b[Ww]hat wait(?:s|ed)\b"
    rf"|(?:^|[;:|] |\b(?:and|or|but|because|since|that|of|to|by|for|from|with|than|if|as) )who {VERB}"
    r"|\b(?:[Ss]ome|[Nn]o|[Aa]ny|[Ee]very)body\b|\b(?:is|are|was|were|ha[sd]|have) to be\b|(?:^|[ (])[DT](?=[ ,.;:)]|$)"
)
ITEM = r" *(?:[-*|#]|\d+\.) "
MARKDOWN = re.compile(rf"^ *```[\s\S]*?^ *```|^{ITEM}.*\n(?:(?!{ITEM}).+\n)*|(?:^(?!{ITEM}).+\n)+", re.M)
RUST = re.compile(r'(?:^ *//[/!].*\n)+|"(?:[^"\\\n]|\\(?:.|\n))*"', re.M)


def places(path: Path, text: str) -> Iterator[str]:
    """The places of a file, each as a line for a person."""
    if path.suffix in (".md", ".rs"):
        blocks = (MARKDOWN if path.suffix == ".md" else RUST).finditer(text)
        pieces = [(text.count("\n", 0, block.start()) + 1, block[0]) for block in blocks]
    else:
        strings = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        pieces = [(node.lineno, node.value) for node in strings if isinstance(node.value, str)]
    for line, piece in pieces:
        bare = " ".join(re.sub(r'^ *//[/!]|^"|\\$|"$', "", piece, flags=re.M).split())
        prose = re.sub(r"```.*?```|``.*?``|`[^`]*`", "code", bare)
        for found in FAULTS.finditer(prose) if prose.count(" ") > 2 else ():
            yield f"{path}:{line}: …{prose[max(0, found.start() - 30) : found.end() + 30]}…"
        for sentence in re.split(r"(?<=[.!?]) |(?<=[.!?][*)\"]) ", prose) if path.suffix == ".md" else ():
            if len(sentence.split()) > 35 and not prose.startswith("|"):
                yield f"{path}:{line}: {len(sentence.split())} words: {sentence[:60]}…"


listing = ["git", "ls-files", "*.md", "*.rs", "*.py", "*.pyi", ":!bench/results"]
found: dict[str, list[str]] = {folder: [] for folder in BUDGETS}
for path in map(Path, subprocess.run(listing, stdout=subprocess.PIPE, text=True, check=True).stdout.split()):
    found[next(filter(str(path).startswith, BUDGETS))].extend(places(path, path.read_text()))
for folder, lines in found.items():
    if len(lines) > BUDGETS[folder] or "-v" in sys.argv:
        print(*lines, f"{folder or 'rest'}: {len(lines)} places, budget {BUDGETS[folder]}", sep="\n")
sys.exit(any(len(lines) > BUDGETS[folder] for folder, lines in found.items()))
