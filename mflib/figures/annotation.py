"""How far two annotators agree."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mflib.figures.style import BLUE, GREY, VERMILION, single, styled


@styled
def bland_altman(segments: pd.DataFrame, limits: tuple[float, float, float] | None) -> Figure:
    """Difference of two annotators' normalised means over their average, with bias and limits of agreement.

    Parameters
    ----------
    segments : ``mean_first`` and ``mean_second`` of each segment, in grey levels
    limits : lower limit of agreement, bias, upper limit; None where there are too few segments
    """
    figure, axes = single(3.2)
    first, second = segments["mean_first"].astype(float), segments["mean_second"].astype(float)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.plot((first + second) / 2, second - first, "o", color=BLUE, ms=4, alpha=0.6, mew=0)
    looks = (("lower limit", ":"), ("bias", "-"), ("upper limit", ":"))
    for (name, line), level in zip(looks, limits or (), strict=False):
        axes.axhline(level, color=VERMILION, ls=line)
        along = axes.get_yaxis_transform()
        axes.text(
            1,
            level,
            f"{name} {level:.1f}".replace("-", "−"),
            transform=along,
            ha="right",
            va="bottom",
            color=VERMILION,
            fontsize=8.5,
        )
    axes.margins(y=0.15)
    axes.set(xlabel="mean of both annotators (grey level)", ylabel="second − first (grey levels)")
    return figure
