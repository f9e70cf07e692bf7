"""What stands out of a cohort: spacing that others do not have, brightness far from theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Depth of 4 to 7 cm moves the spacing by less; a wrong unit or axis by more.
SPACING_FACTOR = 1.5
# Iglewicz B, Hoaglin DC. How to detect and handle outliers. ASQC Quality Press, 1993: 0.6745 (x - median) / MAD.
FAR = 3.5
FEWEST = 8  # volumes that a median and its spread can be trusted with


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Set every volume of the table beside the others.

    Parameters
    ----------
    table : one row for each volume; ``flags`` holds tuples of words

    Returns
    -------
    DataFrame
        ``gain_db`` relative to its median; ``flags`` as one text, with what only the comparison shows.
    """
    columns = (table["flags"], unusual_spacing(table), outliers(table["roi_mean"]))
    flags = ["; ".join([*own, *filter(None, others)]) for own, *others in zip(*columns, strict=True)]
    gain = table["gain_db"] - table["gain_db"].median()
    return table.assign(gain_db=gain, flags=pd.Series(flags, index=table.index, dtype="str"))


def unusual_spacing(table: pd.DataFrame) -> list[str]:
    """Words for each volume whose spacing is far above or below the cohort's most frequent one."""
    steps = table[[f"spacing_{axis}_mm" for axis in "ijk"]]
    usual = np.array([_usual(steps[column]) for column in steps])
    words = []
    for row in steps.to_numpy():
        far = np.abs(np.log(row / usual)) > np.log(SPACING_FACTOR)
        found, expected = (" x ".join(f"{step:.2g}" for step in steps_mm) for steps_mm in (row, usual))
        words.append(f"unusual spacing ({found} mm, mostly {expected})" if far.any() else "")
    return words


def outliers(means: pd.Series) -> list[str]:
    """Words for each volume whose normalised mean is far from the cohort's, by the modified z-score."""
    centre = means.median()
    spread = (means - centre).abs().median() / 0.6745
    if means.count() < FEWEST or not spread > 0:
        return [""] * len(means)
    scores = (means - centre) / spread
    words = f"normalised ROI mean {{:.0f}}, cohort {centre:.0f} (robust z {{:+.1f}})"
    return [words.format(mean, z) if abs(z) > FAR else "" for mean, z in zip(means, scores, strict=True)]


def _usual(steps: pd.Series) -> float:
    """The most frequent step, or the median where no two volumes share one."""
    counts = steps.round(3).value_counts()
    return float(counts.index[0]) if len(counts) and counts.iloc[0] > 1 else float(steps.median())
