"""`%%cached` in real kernels: run, restarted, edited cell by cell, killed, and two at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from helpers.children import PATIENCE

CELLS = [
    "%load_ext dolium",
    "scale = 2",
    """
%%cached load
from IPython.display import HTML, display
import sys
def double(x): return x * scale
print("loading")
print("note", file=sys.stderr)
display(HTML("<i>rows</i>"))
rows = [double(n) for n in range(5)]
rows""",
    """
%%cached
print("summing")
total = await __import__("asyncio").sleep(0, sum(rows))""",
    """
%%cached
import numpy as np
print("arrays")
array = np.arange(6).reshape(2, 3) * total
rows.append(-1)
{"total": total}""",
    "print(rows, total, array.tolist(), double(1))",
]
CACHED = (2, 3, 4)


def executed(directory: Path, cells: list[str]) -> Any:
    """A notebook whose cells a new kernel has run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip("\n")) for cell in cells])
    client = nbclient.NotebookClient(
        notebook,
        timeout=60 * PATIENCE,
        startup_timeout=60 * PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(directory)}},
    )
    return client.execute()


def outputs(notebook: Any, number: int) -> list[Any]:
    """The outputs of a cell without what no two runs have in common."""
    found = []
    for output in notebook.cells[number].outputs:
        plain = {key: value for key, value in output.items() if key not in ("execution_count",)}
        if plain.get("text", "").startswith("restored "):
            plain["text"] = plain["text"].partition("\n")[2]
            if not plain["text"]:
                continue
        # A kernel may send the text of a stream in pieces.
        if found and plain.get("name") and plain.get("name") == found[-1].get("name"):
            found[-1]["text"] += plain["text"]
        else:
            found.append(plain)
    return found


def is_restored(notebook: Any, number: int) -> bool:
    return any(
        re.match(r"restored .*\(saved .*, computed .*\)\n", output.get("text", ""))
        for output in notebook.cells[number].outputs
    )


def test_a_restarted_kernel_restores_what_another_computed(tmp_path):
    first, second = executed(tmp_path, CELLS), executed(tmp_path, CELLS)
    for number in range(1, len(CELLS)):
        assert outputs(second, number) == outputs(first, number), number
    for number in CACHED:
        assert not is_restored(first, number)
        assert is_restored(second, number), number
    kinds = [output["output_type"] for output in first.cells[2].outputs]
    assert kinds == ["stream", "stream", "display_data", "execute_result"]


@pytest.mark.parametrize(
    ("number", "old", "new", "run"),
    [
        (1, "2", "3", CACHED),
        (2, "x * scale", "x + scale", CACHED),
        (2, 'print("loading")', 'print("loading again")', (2,)),
        (3, "sum(rows)", "max(rows)", (3, 4)),
        (4, "reshape(2, 3)", "reshape(3, 2)", (4,)),
        (4, 'print("arrays")', 'print("arrays")  # all', ()),
    ],
)
def test_an_edited_cell_runs_and_so_do_those_that_read_it(tmp_path, number, old, new, run):
    executed(tmp_path, CELLS)
    edited = list(CELLS)
    assert old in edited[number]
    edited[number] = edited[number].replace(old, new)
    found = executed(tmp_path, edited)
    assert tuple(each for each in CACHED if not is_restored(found, each)) == run
    plain = executed(tmp_path, [cell.replace("%%cached load", "").replace("%%cached", "") for cell in edited])
    assert outputs(found, 5) == outputs(plain, 5)


def test_a_kernel_that_dies_while_it_computes_leaves_the_rest(tmp_path):
    dying = [*CELLS[:3], "%%cached\nimport os\nos._exit(1)"]
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        executed(tmp_path, dying)
    found = executed(tmp_path, CELLS)
    assert is_restored(found, 2)
    assert not is_restored(found, 3)


def test_plots_and_replaced_outputs_come_back(tmp_path):
    cells = [
        "%load_ext dolium",
        """
%%cached
from IPython.display import clear_output, display, update_display
print("gone")
clear_output()
handle = display("old", display_id="it")
update_display("new", display_id="it")
print("stays")""",
    ]
    cells[1] = cells[1].replace("%%cached", "%%cached --ignore handle")
    first, second = executed(tmp_path, cells), executed(tmp_path, cells)
    assert not is_restored(first, 1)
    assert [each for each in outputs(second, 1) if each["output_type"] == "display_data"] == [
        each for each in outputs(first, 1) if each["output_type"] == "display_data"
    ]
    assert outputs(second, 1)[-1] == outputs(first, 1)[-1]
