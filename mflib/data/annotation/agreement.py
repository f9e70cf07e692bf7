"""How far two annotators agree: points, regions, and what the difference does to the normalised grey level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mflib.base.errors import FileError, InputError
from mflib.base.progress import Progress
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.annotation import marks
from mflib.data.annotation.marks import Marks
from mflib.data.annotation.opening import SECOND
from mflib.data.cohort import Cohort
from mflib.data.cohort_tables import ANNOTATIONS, Key
from mflib.data.preprocess import GainSettings
from mflib.data.volume import Annotation, Volume
from mflib.stats import reliability

MEASURES = {"bone_mm": 95, "shadow_mm": 95, "dice": 5, "iou": 5}  # and the percentile at which each is bad
COLUMNS = [*KEY, "first", "second", *MEASURES, "mean_first", "mean_second", "difference"]
LIMITS = 1.96  # standard deviations: 95 % of normal differences


@dataclass(frozen=True)
class MeanAgreement:
    """Agreement of the regions' mean grey level after gain normalisation, in grey levels.

    Parameters
    ----------
    n : segments
    bias, sd : mean and standard deviation of second minus first
    low, high : 95 % limits of agreement (Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8)
    icc, icc_low, icc_high : ICC(2,1) with its 95 % interval
    """

    n: int
    bias: float
    sd: float
    low: float
    high: float
    icc: float
    icc_low: float
    icc_high: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """A second pass held against the first.

    Parameters
    ----------
    segments : marked by both: KEY, ``first`` and ``second`` (annotators), ``bone_mm``, ``shadow_mm`` (distances),
        ``dice``, ``iou`` (overlap of the regions), ``mean_first``, ``mean_second``, ``difference`` (second - first) of
        the normalised mean
    left_out : KEY and ``reason`` of segments in both passes that cannot be compared
    summary : ``measure``, ``n``, ``median``, ``percentile`` (95 for distances, 5 for overlaps), ``at_percentile``
    means : of the normalised mean; None with fewer than two segments
    """

    segments: pd.DataFrame
    left_out: pd.DataFrame
    summary: pd.DataFrame
    means: MeanAgreement | None

    def __str__(self) -> str:
        """The result in a sentence."""
        out = f" {len(self.left_out)} more cannot be compared." if len(self.left_out) else ""
        if self.means is None:
            return f"{len(self.segments)} segments are marked by both, expected at least two.{out}"
        one, bone = self.means, self.segments["bone_mm"].median()
        return (
            f"{one.n} segments are marked by both: bones {bone:.1f} mm apart (median); the normalised mean differs by "
            f"{one.bias:.1f} grey levels (limits of agreement {one.low:.1f} to {one.high:.1f}), ICC {one.icc:.2f} "
            f"({one.icc_low:.2f} to {one.icc_high:.2f}).{out}"
        )


def compare(cohort: Cohort | Path | str, settings: GainSettings | None = None) -> Agreement:
    """Hold the second pass against the first, segment by segment.

    Parameters
    ----------
    cohort : its folder
    settings : of the gain normalisation

    Raises
    ------
    InputError
        One of the two tables is none.
    """
    root = cohort.root if isinstance(cohort, Cohort) else Path(cohort).expanduser()
    first, second = (marks.read_rows(root / name).rows for name in (ANNOTATIONS, SECOND))
    paths = cohorts.find_volumes(root)[0]
    both = [key for key in paths if key in first and key in second]
    compared, left_out = [], []
    progress = Progress("annotations compared", len(both))
    for key in both:
        try:
            pair = _marks(key, first[key]), _marks(key, second[key])
            compared.append([*key, *_compared(root / paths[key], *pair, settings or GainSettings())])
        except (InputError, FileError) as error:
            left_out.append([*key, str(error)])
        progress.advance()
    table = pd.DataFrame(compared, columns=COLUMNS)
    return Agreement(table, pd.DataFrame(left_out, columns=[*KEY, "reason"]), _summary(table), _means(table))


def _marks(key: Key, cells: marks.Row) -> Marks:
    found = marks.from_cells(cells)
    if found is None:
        raise InputError(f"{' '.join(key)}: found no complete marks, expected points and region")
    return found


def _compared(path: Path, first: Marks, second: Marks, settings: GainSettings) -> list[object]:
    """One row of ``segments`` without its key."""
    out = [f"{one.annotator}: {one.excluded}" for one in (first, second) if one.excluded]
    one, other = first.annotation, second.annotation
    if out or one is None or other is None:
        raise InputError(f"excluded by {' and '.join(out)}")
    volume = volumes.read(path)
    distances = [_distance_mm(volume, *points) for points in ((one.bone, other.bone), (one.shadow, other.shadow))]
    means = [float(preprocess.region(volume, marked, settings).voxels.mean()) for marked in (one, other)]
    return [first.annotator, second.annotator, *distances, *overlap(one, other), *means, means[1] - means[0]]


def _distance_mm(volume: Volume, one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return float(np.linalg.norm((np.array(one) - other) * volume.spacing_mm))


def overlap(one: Annotation, other: Annotation) -> tuple[float, float]:
    """Dice coefficient and intersection over union of two regions of interest."""
    shared = 1
    for first, second in zip(one.roi, other.roi, strict=True):
        shared *= max(0, min(first.stop, second.stop) - max(first.start, second.start))
    sizes = [int(np.prod(marked.roi_size)) for marked in (one, other)]
    return 2 * shared / sum(sizes), shared / (sum(sizes) - shared)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    measured = [] if table.empty else [
        (name, len(table), table[name].median(), percent, np.percentile(table[name], percent))
        for name, percent in MEASURES.items()
    ]  # fmt: skip
    return pd.DataFrame(measured, columns=["measure", "n", "median", "percentile", "at_percentile"])


def _means(table: pd.DataFrame) -> MeanAgreement | None:
    if len(table) < 2:
        return None
    bias, sd = float(table["difference"].mean()), float(table["difference"].std())
    pairs = table[["mean_first", "mean_second"]].to_numpy(float)[:, :, None]
    estimate, low, high = (float(bound[0]) for bound in reliability.icc(pairs))
    return MeanAgreement(len(table), bias, sd, bias - LIMITS * sd, bias + LIMITS * sd, estimate, low, high)
