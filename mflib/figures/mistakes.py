"""Pictures of the segments that the models get wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mflib.figures.style import AXES, model_look, panels, styled


@styled
def mistakes(table: pd.DataFrame, pictures: Sequence[NDArray[np.uint8]]) -> Figure:
    """The most confident mistakes: a row for each model and kind, a transverse picture of the region for each segment.

    Parameters
    ----------
    table : as ``performance.mistakes``: ``model``, ``kind``, KEY, ``score``, ``threshold``
    pictures : (lateral, depth) grey levels of each row's segment; sizes may differ
    """
    rows = list(table.groupby(["model", "kind"], sort=False).indices.items())
    if not rows:
        figure, axes = panels(1, 1, 1.0)
        axes[0, 0].set(xticks=[], yticks=[], xlabel="no mistakes", ylabel="models")
        return figure
    columns = max(len(places) for _, places in rows)
    figure, axes = panels(len(rows), columns, 0.3 + len(rows) * 6.0 / columns)
    for row, ((model, kind), places) in zip(axes, rows, strict=True):
        for panel, place in zip(row, places, strict=False):
            segment = table.iloc[place]
            panel.imshow(pictures[place].T, cmap="gray", vmin=0, vmax=255)
            panel.set(xticks=[], yticks=[], xlabel=AXES[0])
            side = ">=" if segment["score"] >= segment["threshold"] else "<"
            name = f"{segment['participant_id']} {segment['level']} {segment['lat']}"
            panel.set_title(f"{name}\nscore {segment['score']:.2f} {side} {segment['threshold']:.2f}", fontsize=8)
        for panel in row[len(places) :]:
            panel.axis("off")
        row[0].set_ylabel(f"{model_look(str(model))['label']}\n{kind}s, {AXES[1]}")
    return figure
