"""How far features depend on the examiner: gain, region and reference points moved a little, everything measured again.

One segment of each patient is measured under every perturbation, so that the cases of an intraclass correlation are
independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from mflib.base import parallel
from mflib.base.settings import STRICT
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import SPACING, Cohort
from mflib.data.volume import Annotation, Index, Volume
from mflib.models.texture import bank, glcm
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

    gain_db: Annotated[float, Field(gt=0)] = 3.0
    roi_voxels: Annotated[int, Field(ge=1)] = 3
    point_voxels: Annotated[int, Field(ge=1)] = 3

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
    segments = one_per_patient(cohort.segments)
    planned: list[tuple[int, _Move]] = []
    for n, segment in enumerate(segments.to_dict("records")):
        plain = bank.of_segment(cohort, segment, preprocessing, features)
        planned += [(n, move) for move in _moved(plain, volumes.read_header(plain.volume).shape, settings)]
    jobs = [move.job for _, move in planned]
    measured, failures = bank.run(jobs, cache, workers=workers, scheduler=scheduler, label="perturbed texture")
    reasons = {str(planned[n][1]): reason for n, reason in failures.items()}
    incomplete = {planned[n][0] for n in failures}
    whole = {n: values for n, values in measured.items() if planned[n][0] not in incomplete}
    if not whole:
        raise bank.unmeasured(reasons, len(jobs))
    values = bank.table(jobs, whole)
    rows = [planned[n] for n in values.index]
    keys = segments[KEY].iloc[[n for n, _ in rows]].set_axis(values.index)
    kinds = pd.DataFrame([(m.kind, m.way) for _, m in rows], columns=[PERTURBATION, DIRECTION], index=values.index)
    table = pd.concat([keys, kinds, values], axis=1).reset_index(drop=True)
    return Perturbed(table, reasons, [str(move) for _, move in planned if move.short])


SIZE_ALONE = (
    "Voxel size alone has an AUC of **{auc:.2f}** for infiltration (0.5 says nothing): a feature that follows it "
    "borrows from the depth that the examiner sets. In the {segments} segments without infiltration the GLCM features "
    "of the table follow it with a rank correlation of **{recorded:.2f} as recorded and {one:.2f} in voxels of {mm} "
    "mm**, mean of the absolute values; chance alone leaves at least {chance:.2f}. "
)
TAKES, LEAVES = "One voxel size takes {share:.0%} of it away.", "One voxel size takes nothing of it away."
WAYS = ("as recorded", "one voxel size")
ONE_SIZE = "All segments without infiltration have one voxel size, so no feature can follow it there."


@dataclass(frozen=True, eq=False)
class BySize:
    """How closely GLCM features follow the voxel size of the volume, in segments without infiltration.

    Parameters
    ----------
    table : ``step``, and the mean of the absolute rank correlation over directions and properties ``as recorded`` and
        at ``one voxel size``; NaN where all these segments have the same
    auc : of the voxel's volume for infiltration, all segments
    segments : without infiltration
    voxel_mm : the one size along i, j, k
    """

    table: pd.DataFrame
    auc: float
    segments: int
    voxel_mm: bank.Spacing

    def __str__(self) -> str:
        """How much voxel size tells, and how much of it one voxel size takes away, as sentences."""
        recorded, one = self.table[list(WAYS)].mean()
        if np.isnan(recorded):
            return ONE_SIZE
        told = {"auc": self.auc, "segments": self.segments, "recorded": recorded, "one": one}
        mm = " x ".join(f"{size:.2f}" for size in self.voxel_mm)
        # Of independent values ranks correlate with an SD of 1 / sqrt(n - 1).
        said = SIZE_ALONE.format(**told, mm=mm, chance=np.sqrt(2 / np.pi / (self.segments - 1)))
        return said + (TAKES.format(share=1 - one / recorded) if one < recorded else LEAVES)


def by_voxel_size(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    features: bank.TextureSettings,
    *,
    workers: int,
    scheduler: str = "",
) -> BySize:
    """Measure a few GLCM features of the segments without infiltration as recorded, and at one voxel size.

    Parameters
    ----------
    cohort, preprocessing, workers, scheduler : as in `bank.extract`
    features : of the study: its voxel size, or the coarsest where it measures as recorded; of its grid the grey-level
        count next to 64 and every third step
    """
    segments = cohort.segments
    size, healthy = segments[list(SPACING)].prod(axis=1), segments["label"] == 0
    recorded = replace(
        features,
        voxel_mm="as-recorded",
        levels=(min(features.levels, key=lambda count: abs(count - 64)),),
        steps=features.steps[::3],
    )
    resampled = replace(recorded, voxel_mm="coarsest" if features.voxel_mm == "as-recorded" else features.voxel_mm)
    ways = (recorded, resampled.for_cohort(cohort))
    records = segments[healthy].to_dict("records") if size[healthy].nunique() > 1 else []
    shared, label = (cohort, preprocessing, ways), "texture at two voxel sizes"
    measured = parallel.in_order(_at_sizes, shared, records, label, workers=workers, scheduler=scheduler)
    table = pd.DataFrame(np.nan, index=pd.Index(recorded.steps, name="step"), columns=list(WAYS))
    for way, rows in zip(WAYS, zip(*measured, strict=True), strict=False):
        values = pd.DataFrame(rows, index=size.index[healthy]).dropna(axis=1)
        follow = values.corrwith(size[healthy], method="spearman").abs()
        table[way] = follow.groupby(follow.index.str.split("_").str[2].astype(int)).mean()
    auc, _ = roc.auc_covariance(segments["label"], size)
    voxel_mm = ways[1].voxel(cohort.spacing(segments.iloc[0].to_dict()))
    return BySize(table.reset_index(), float(auc[0]), int(healthy.sum()), voxel_mm)


def _at_sizes(
    shared: tuple[Cohort, preprocess.GainSettings, Sequence[bank.TextureSettings]], segment: Mapping[str, Any]
) -> list[pd.Series]:
    """The GLCM features of one region in each way."""
    cohort, preprocessing, ways = shared
    volume = cohort.volume(segment)
    voxels = preprocess.region(volume, cohort.annotation(segment), preprocessing).voxels
    grids = [(way.resampled(voxels, volume.spacing_mm), way) for way in ways]
    return [glcm.features(grid, levels=way.levels, steps=way.steps, symmetric=way.symmetric) for grid, way in grids]


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


def one_per_patient(segments: pd.DataFrame) -> pd.DataFrame:
    """One segment of each patient: the first of the first, the second of the second, and so on around."""
    patients = segments.groupby("participant_id", sort=False)
    chosen = [group.iloc[[n % len(group)]] for n, (_, group) in enumerate(patients)]
    return pd.concat(chosen, ignore_index=True)


def _moved(plain: bank.Job, shape: Sequence[int], settings: RobustnessSettings) -> Iterator[_Move]:
    """Each perturbation of a region, and the region as it is."""
    one = plain.annotation
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
