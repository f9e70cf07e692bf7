"""What a notebook shows: a figure that grows while the work goes on, in a real kernel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from mflib.show import shown, style

GROWING = """
import pandas as pd
from mflib.show import shown

def chart(table):
    along = {"x": {"field": "epoch", "type": "quantitative"}}
    return {"data": {"values": table.to_dict("records")}, "mark": "tick", "encoding": along}

with shown.live(chart, every=0) as watch:
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


@style.styled
def line() -> Figure:
    """A line in the colour of text, and a point with paper in it."""
    figure, axes = style.single(2)
    axes.plot([0, 1], "o-", color=style.INK, mfc=style.PAPER, lw=3)
    return figure


def test_a_drawing_follows_the_scheme_of_the_reader(tmp_path: Path, chromium: Any) -> None:
    # Ink and ground of the figure, as a browser draws it, are those of the page in either scheme.
    look = shown.figure(line(), tmp_path, "lines", caption="Lines.")
    page = tmp_path / "page.html"
    page.write_text(f"<style>:root{{color-scheme:light dark}}</style>{shown.themed(look.html, tmp_path)}")
    found = {}
    for scheme in ("light", "dark"):
        tab = chromium.new_context(color_scheme=scheme).new_page()
        tab.goto(page.as_uri())
        pixels = np.asarray(Image.open(io.BytesIO(tab.locator("img").screenshot())).convert("L"), float)
        found[scheme] = np.percentile(pixels, [0, 50, 100])
    assert found["light"][0] < 60 and found["light"][1] > 250
    assert found["dark"][1] < 30 and found["dark"][2] > 200
