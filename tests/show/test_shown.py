"""What a notebook shows: a figure that grows while the work goes on, in a real kernel."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

GROWING = """
import pandas as pd
from matplotlib.figure import Figure
from mflib.show import shown

def plot(table):
    figure = Figure((2, 1))
    figure.subplots().plot(table["epoch"])
    return figure

with shown.live(plot, every=0) as watch:
    for epochs in range(1, 4):
        watch(pd.DataFrame({"epoch": range(epochs)}))
        if epochs == STOP:
            raise KeyboardInterrupt
"""


def outputs(stop: int) -> list[nbformat.NotebookNode]:
    """The display outputs of the cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(GROWING.replace("STOP", str(stop)))])
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    return [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]


def pictures(stop: int) -> int:
    """How often a picture was put on the wire, however it was replaced afterwards."""
    seen = []

    class Watching(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            content = msg["content"].get("data", {}).get("text/html", "")
            seen.append("<img" in content)
            return super().process_message(msg, cell, cell_index)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(GROWING.replace("STOP", str(stop)))])
    Watching(notebook, kernel_name="python3", allow_errors=True).execute()
    return sum(seen)


def test_a_live_figure_replaces_itself_and_goes() -> None:
    (only,) = outputs(stop=0)
    assert only.data["text/html"] == ""
    assert pictures(stop=0) == 3


def test_a_live_figure_goes_when_the_work_is_interrupted() -> None:
    (only,) = outputs(stop=2)
    assert only.data["text/html"] == ""
