"""How far features depend on the examiner: gain, region and reference points moved a little, everything measured again.

One segment of each patient is measured under every perturbation, so that the cases of an intraclass correlation are
independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from mflib.base.settings import STRICT, Count, Number
from mflib.base.words import KEY, percent
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import SPACING, Cohort
from mflib.data.volume import Annotation, Index, Volume
from mflib.models.texture import bank
from mflib.stats import roc
from mflib.stats.reliability import AS_ANNOTATED, DIRECTION, PERTURBATION


@settings(frozen=True, config=STRICT)
class RobustnessSettings:
    """How much is moved.

    Parameters
    ----------
    gain_db : the gain of the recording is raised and lowered by so many dB
    roi_voxels : the region of interest is moved back and forth by so many voxels along all axes at once, as far as it
        stays inside
    point_voxels : both reference points are moved likewise
    """

    gain_db: Annotated[Number, Field(gt=0, le=60)] = 3.0
    roi_voxels: Count = 3
    point_voxels: Count = 3

    def __str__(self) -> str:
        """What is moved, as a sentence."""
        moved = f"ROI ± {self.roi_voxels} and points ± {self.point_voxels} voxels along all axes"
        return f"Gain ± {self.gain_db:g} dB, {moved}."


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Features of the same segments under every perturbation.

    Parameters
    ----------
    table : KEY, ``perturbation`` (gain, ROI, points; ``AS_ANNOTATED`` for the measurement that all are held against),
        ``direction`` (1, -1, 0), then the features; only segments that could be measured under every perturbation
    failures : why segments are missing, by volume and perturbation; empty where none is
    cut_short : moves of region or points that the border of a volume cut short, so that the ICC is too good there
    """

    table: pd.DataFrame
    failures: dict[str, str]
    cut_short: list[str]

    def __str__(self) -> str:
        """How many were measured, and that or what failed, as a sentence."""
        count = len(self.table[KEY].drop_duplicates())
        failed = "; ".join(f"{name}: {why}" for name, why in self.failures.items())
        short = f" The border of its volume cut {len(self.cut_short)} moves short." if self.cut_short else ""
        return f"{count} segments, one per patient; left out: {failed or 'none'}.{short}"


@dataclass(frozen=True)
class _Move:
    """A perturbation: its kind and direction, the job that measures it, and whether a border has cut it short."""

    kind: str
    way: int
    job: bank.Job
    short: bool = False

    def __str__(self) -> str:
        return f"{self.job.volume.name}, {self.kind}{f' {self.way:+d}' if self.way else ''}"


def measure(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    features: bank.TextureSettings,
    settings: RobustnessSettings,
    cache: Path,
    *,
    workers: int,
    scheduler: str = "",
) -> Perturbed:
    """Measure one segment of each patient as annotated, and with gain, region and reference points moved either way.

    Segments take turns over patients, so that all levels and sides occur. The other parameters are those of
    `bank.extract`.

    Raises
    ------
    RunError
        No segment could be measured under every perturbation; all reasons are listed.
    """
    moves, rows = [], []
    for segment in some_per_patient(cohort.segments).to_dict("records"):
        of_segment = list(_moved(bank.of_segment(cohort, segment, preprocessing, features), settings))
        moves += of_segment
        rows += [[*(segment[name] for name in KEY), move.kind, move.way] for move in of_segment]
    jobs = [move.job for move in moves]
    measured, failures = bank.run(jobs, cache, workers=workers, scheduler=scheduler, label="perturbed texture")
    reasons = {str(moves[n]): reason for n, reason in failures.items()}
    incomplete = {jobs[n].volume for n in failures}
    whole = {n: values for n, values in measured.items() if jobs[n].volume not in incomplete}
    if not whole:
        raise bank.unmeasured(reasons, len(jobs))
    named = pd.DataFrame(rows, columns=[*KEY, PERTURBATION, DIRECTION])
    table = named.join(bank.table(jobs, whole), how="inner").reset_index(drop=True)
    return Perturbed(table, reasons, [str(move) for move in moves if move.short])


WAYS = ("as recorded", "one voxel size")
FOLLOW = (
    "Voxel size alone has an AUC of **{auc:.2f}** for infiltration (0.5 says nothing): a feature that follows it "
    "borrows from the depth that the examiner sets. In the {count} segments without infiltration the rank correlation "
    "with it is **{recorded:.2f} as recorded and {one:.2f} at one voxel size**, mean over the table; chance alone "
    "leaves at least {chance:.2f}. {so}"
)
TAKES, LEAVES = "One voxel size takes {share} of it away.", "One voxel size takes nothing of it away."
ONE_SIZE = "All segments without infiltration have one voxel size, so no feature can follow it there."


def by_voxel_size(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    features: bank.TextureSettings,
    texture: pd.DataFrame,
    cache: Path,
    *,
    workers: int,
    scheduler: str = "",
) -> pd.DataFrame:
    """How closely GLCM features follow the voxel size in segments without infiltration, as recorded and at one size.

    Parameters
    ----------
    cohort, preprocessing, cache, workers, scheduler : as in `bank.extract`
    features, texture : of the study, and its texture table. The other way is measured here, of the grey-level count
        next to 64 and every third step

    Returns
    -------
    DataFrame
        ``step`` and `WAYS`: the absolute rank correlation, mean over directions and properties; NaN where all segments
        have one voxel size.
    """
    resampled = features.voxel_mm != "as-recorded"
    few = replace(features, levels=(min(features.levels, key=lambda n: abs(n - 64)),), steps=features.steps[::3])
    other = replace(few, voxel_mm="as-recorded" if resampled else "coarsest").for_cohort(cohort)
    healthy = cohort.segments[cohort.segments["label"] == 0]
    part = replace(cohort, segments=healthy)
    measured = bank.extract(part, preprocessing, other, cache, workers=workers, scheduler=scheduler)
    names = measured.columns[measured.columns.str.startswith("glcm_")].intersection(texture.columns, sort=False)
    both = (measured, texture.loc[healthy.index]) if resampled else (texture.loc[healthy.index], measured)
    follow = [values[names].rank().corrwith(_voxel(healthy).rank()).abs() for values in both]
    steps = pd.Index(names.str.split("_").str[2].astype(int), name="step")
    return pd.concat(follow, axis=1, keys=WAYS).groupby(steps).mean().reset_index()


def by_voxel_size_in_words(table: pd.DataFrame, segments: pd.DataFrame) -> str:
    """How much voxel size tells, and how much of it one voxel size takes away, as sentences.

    Parameters
    ----------
    table : of `by_voxel_size`
    segments : of the cohort
    """
    (recorded, one), count = table[list(WAYS)].mean(), int((segments["label"] == 0).sum())
    if np.isnan(recorded):
        return ONE_SIZE
    auc, _ = roc.auc_covariance(segments["label"], _voxel(segments))
    so = TAKES.format(share=percent(1 - one / recorded)) if one < recorded else LEAVES
    # Ranks of independent values correlate with an SD of 1 / sqrt(n - 1).
    chance = np.sqrt(2 / np.pi / (count - 1))
    return FOLLOW.format(auc=auc[0], count=count, recorded=recorded, one=one, chance=chance, so=so)


def _voxel(segments: pd.DataFrame) -> pd.Series:
    """Volume of a voxel in cubic millimetres."""
    return segments[list(SPACING)].prod(axis=1)


def under_gain(
    volume: Volume,
    annotation: Annotation,
    preprocessing: preprocess.GainSettings,
    features: bank.TextureSettings,
    names: Sequence[str],
    gains_db: Sequence[float] = (-6, -3, 0, 3, 6),
) -> pd.DataFrame:
    """A few features of one region as if it had been recorded with another gain, before and after normalisation.

    Parameters
    ----------
    volume, annotation : one segment
    preprocessing, features : as in `measure`; the voxel size is a number, see `bank.TextureSettings.for_cohort`
    names : columns of the texture table to show; what does not fit into the region is left out
    gains_db : changes of the gain in dB

    Returns
    -------
    DataFrame
        ``gain_db``, ``voxels`` ("as recorded" or "gain-normalised"), ``feature``, ``value``.
    """
    rows = []
    for gain_db in gains_db:
        changed = preprocess.change_gain(volume, gain_db, preprocessing)
        region = preprocess.region(changed, annotation, preprocessing)
        recorded_db = preprocess.recorded_range(volume, preprocessing)
        kinds = {"as recorded": (region.raw, recorded_db), "gain-normalised": (region.voxels, region.dynamic_range_db)}
        for kind, (voxels, range_db) in kinds.items():
            values = bank.measure(voxels, volume.spacing_mm, range_db, features)
            rows += [(gain_db, kind, name, values[name]) for name in names if name in values]
    return pd.DataFrame(rows, columns=["gain_db", "voxels", "feature", "value"])


def some_per_patient(segments: pd.DataFrame, count: int = 1) -> pd.DataFrame:
    """A few segments of each patient, neighbours in the table; from the first of the first patient on, and so around.

    Parameters
    ----------
    segments : one row per segment, with ``participant_id``
    count : of each patient; all where there are fewer
    """
    chosen = [
        group.iloc[sorted((n + k) % len(group) for k in range(min(count, len(group))))]
        for n, (_, group) in enumerate(segments.groupby("participant_id", sort=False))
    ]
    return pd.concat(chosen, ignore_index=True)


def _moved(plain: bank.Job, settings: RobustnessSettings) -> Iterator[_Move]:
    """Each perturbation of a region, and the region as it is."""
    one, shape = plain.annotation, volumes.read_header(plain.volume).shape
    yield _Move(AS_ANNOTATED, 0, plain)
    for way in (-1, 1):
        by_roi, by_points = way * settings.roi_voxels, way * settings.point_voxels
        yield _Move("gain", way, replace(plain, gain_db=way * settings.gain_db))
        roi, short = _shift(one.roi_start, by_roi, shape, one.roi_size)
        yield _Move("ROI", way, replace(plain, annotation=replace(one, roi_start=roi)), short)
        (bone, short), (shadow, also) = (_shift(point, by_points, shape) for point in (one.bone, one.shadow))
        yield _Move("points", way, replace(plain, annotation=replace(one, bone=bone, shadow=shadow)), short or also)


def _shift(start: Index, by: int, shape: Sequence[int], size: Sequence[int] = (1, 1, 1)) -> tuple[Index, bool]:
    """Where something lies that was moved as far as it stays inside, and whether the border cut the move short."""
    i, j, k = (min(max(0, first + by), whole - extent) for first, whole, extent in zip(start, shape, size, strict=True))
    return (i, j, k), (i, j, k) != tuple(first + by for first in start)
