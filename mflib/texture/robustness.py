"""How far features depend on the examiner: gain, region and reference points moved a little, everything measured again.

One segment of each patient is measured under every perturbation, so that the cases of an intraclass correlation are
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mflib import preprocess
from mflib import volume as volumes
from mflib.cohort import Cohort
from mflib.reliability import AS_ANNOTATED, DIRECTION, PERTURBATION
from mflib.texture import bank
from mflib.volume import KEY, Index


@dataclass(frozen=True)
class Settings:
    """How much is moved.

    Parameters
    ----------
    gain_db : the gain of the recording is raised and lowered by so many dB
    roi_voxels : the region of interest is moved back and forth by so many voxels along all axes at once, as far as it
        stays inside
    point_voxels : both reference points are moved likewise
    """

    gain_db: float = 3.0
    roi_voxels: int = 3
    point_voxels: int = 3

    def __post_init__(self) -> None:
        """Refuse what would move nothing."""
        if self.gain_db <= 0 or self.roi_voxels < 1 or self.point_voxels < 1:
            raise ValueError(f"found {self}, expected a gain above 0 dB and moves of at least 1 voxel")


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Features of the same segments under every perturbation.

    Parameters
    ----------
    table : KEY, ``perturbation`` (gain, ROI, points; ``AS_ANNOTATED`` for the measurement that all are held against),
        ``direction`` (1, -1, 0), then the features; only segments that could be measured under every perturbation
    failures : why segments are missing, by volume; empty where none is
    """

    table: pd.DataFrame
    failures: dict[str, str]


def measure(
    cohort: Cohort,
    preprocessing: preprocess.Settings,
    features: bank.Settings,
    settings: Settings,
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
    bank.BankError
        No segment could be measured under every perturbation; all reasons are listed.
    """
    segments = one_per_patient(cohort.segments)
    planned: list[tuple[int, str, int, bank.Job]] = []
    for n, segment in enumerate(segments.to_dict("records")):
        path = cohort.root / segment["path"]
        plain = bank.Job(path, cohort.annotation(segment), preprocessing, features)
        shape = volumes.read_header(path).shape
        planned += [(n, *moved) for moved in _moved(plain, shape, settings)]
    jobs = [job for *_, job in planned]
    measured, failures = bank.run(jobs, cache, workers=workers, scheduler=scheduler, label="perturbed texture")
    reasons = {f"{planned[n][3].volume.name}, {planned[n][1]}": reason for n, reason in failures.items()}
    incomplete = {planned[n][0] for n in failures}
    whole = {n: values for n, values in measured.items() if planned[n][0] not in incomplete}
    if not whole:
        raise bank.BankError(reasons, len(jobs))
    values = bank.table(jobs, whole)
    rows = [planned[n] for n in values.index]
    keys = segments[KEY].iloc[[row[0] for row in rows]].set_axis(values.index)
    kinds = pd.DataFrame([row[1:3] for row in rows], columns=[PERTURBATION, DIRECTION], index=values.index)
    return Perturbed(pd.concat([keys, kinds, values], axis=1).reset_index(drop=True), reasons)


def one_per_patient(segments: pd.DataFrame) -> pd.DataFrame:
    """One segment of each patient: the first of the first, the second of the second, and so on around."""
    patients = segments.groupby("participant_id", sort=False)
    chosen = [group.iloc[[n % len(group)]] for n, (_, group) in enumerate(patients)]
    return pd.concat(chosen, ignore_index=True)


def _moved(plain: bank.Job, shape: Sequence[int], settings: Settings) -> list[tuple[str, int, bank.Job]]:
    """Kind and direction of each perturbation, and the job that measures it."""
    one = plain.annotation
    jobs: list[tuple[str, int, bank.Job]] = [(AS_ANNOTATED, 0, plain)]
    for way in (-1, 1):
        jobs.append(("gain", way, replace(plain, gain_db=way * settings.gain_db)))
        roi = _shift(one.roi_start, way * settings.roi_voxels, shape, one.roi_size)
        jobs.append(("ROI", way, replace(plain, annotation=replace(one, roi_start=roi))))
        bone, shadow = (_shift(point, way * settings.point_voxels, shape) for point in (one.bone, one.shadow))
        jobs.append(("points", way, replace(plain, annotation=replace(one, bone=bone, shadow=shadow))))
    return jobs


def _shift(start: Index, by: int, shape: Sequence[int], size: Sequence[int] = (1, 1, 1)) -> Index:
    i, j, k = (min(max(0, first + by), whole - extent) for first, whole, extent in zip(start, shape, size, strict=True))
    return i, j, k
