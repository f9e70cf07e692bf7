"""The texture bank: cohort in, texture table out, in parallel and resumable.

Each volume's numbers are kept on disk as soon as they are there, under a key of everything that decides them. A run
that was killed loses the volumes in hand; a changed volume, annotation, setting or source computes what it touches.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib import preprocess
from mflib import volume as volumes
from mflib.cohort import Cohort
from mflib.progress import Progress
from mflib.texture import first_order, glcm, glcm_kernel, nakagami
from mflib.volume import KEY, Annotation

Values = NDArray[np.float64]

NAKAGAMI = ("nakagami_m", "nakagami_omega")


class BankError(RuntimeError):
    """Volumes that could not be measured; ``failures`` maps each one's path to the reason."""

    def __init__(self, failures: Mapping[str, str], total: int) -> None:
        self.failures = dict(failures)
        lines = "\n".join(f"  {path}: {reason}" for path, reason in sorted(failures.items()))
        super().__init__(f"{len(failures)} of {total} volumes could not be measured; the others are kept:\n{lines}")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    levels, steps, symmetric : the GLCM grid, see `glcm.features`
    nakagami_input : ``"intensity"`` or ``"grey"``, see `nakagami.fit`
    """

    levels: tuple[int, ...] = glcm.LEVELS
    steps: tuple[int, ...] = glcm.STEPS
    symmetric: bool = True
    nakagami_input: nakagami.Input = "intensity"

    def names(self, roi_size: Sequence[int]) -> list[str]:
        """Features of a region of this size, in the order of the texture table."""
        return [*glcm.names(roi_size, self.levels, self.steps), *NAKAGAMI, *first_order.NAMES]


@dataclass(frozen=True)
class _Job:
    """One volume to measure, and the folder where its numbers are kept."""

    volume: Path
    annotation: Annotation
    preprocessing: preprocess.Settings
    settings: Settings
    cache: Path

    @property
    def names(self) -> list[str]:
        return self.settings.names(self.annotation.roi_size)


def extract(
    cohort: Cohort, preprocessing: preprocess.Settings, settings: Settings, cache: Path, workers: int
) -> pd.DataFrame:
    """Measure the gain-normalised region of interest of every segment.

    Parameters
    ----------
    cohort : its ``segments`` give rows and order
    preprocessing : gain normalisation
    settings : what is measured
    cache : folder for the numbers of each volume, made where there is none
    workers : processes; the numbers do not depend on it

    Returns
    -------
    DataFrame
        The texture table: KEY, GLCM features, Nakagami m and omega, first-order statistics. Of the GLCM grid those
        combinations that fit into every region, in the order of `glcm.names`.

    Raises
    ------
    BankError
        Volumes could not be measured; all of them are listed. The others are kept.
    """
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [
        _Job(cohort.root / segment["path"], cohort.annotation(segment), preprocessing, settings, cache)
        for segment in cohort.segments.to_dict("records")
    ]
    measured: dict[int, Values] = {}
    failures: dict[str, str] = {}
    progress = Progress("texture", len(jobs))
    for n, outcome in _outcomes(jobs, workers):
        if isinstance(outcome, str):
            path = str(cohort.segments["path"].iloc[n])
            failures[path] = outcome
            print(f"texture of {path}: {outcome}", flush=True)
        else:
            measured[n] = outcome
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    if failures:
        raise BankError(failures, len(jobs))
    return _table(cohort.segments, jobs, measured)


def _table(segments: pd.DataFrame, jobs: Sequence[_Job], measured: Mapping[int, Values]) -> pd.DataFrame:
    """Rows in the order of the segments, with the features that every region has."""
    smallest = np.min([job.annotation.roi_size for job in jobs], axis=0)
    shared = pd.Index(jobs[0].settings.names(tuple(smallest)))
    # Regions have few different sizes: where a size's features lie is looked up once.
    places = functools.cache(lambda size: pd.Index(jobs[0].settings.names(size)).get_indexer(shared))
    values = np.stack([measured[n][places(job.annotation.roi_size)] for n, job in enumerate(jobs)])
    return pd.concat([segments[KEY], pd.DataFrame(values, columns=shared, index=segments.index)], axis=1)


def _outcomes(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[int, Values | str]]:
    """Position and numbers, or the reason why there are none, of each job as it is done; kept ones first."""
    missing: list[tuple[int, _Job, Path]] = []
    for n, job in enumerate(jobs):
        try:
            kept = job.cache / f"{_key(job)}.npy"
        except OSError as error:
            yield n, _reason(error)
            continue
        values = _read_kept(kept, len(job.names))
        if values is None:
            missing.append((n, job, kept))
        else:
            yield n, values
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from parallel(joblib.delayed(_attempt)(n, job, kept) for n, job, kept in missing)


def _attempt(n: int, job: _Job, kept: Path) -> tuple[int, Values | str]:
    try:
        values = _measure(job)
    except Exception as error:
        # Whatever is wrong with one volume, the rest goes on: `extract` names it at once and again at the end.
        return n, _reason(error)
    _keep(values, kept)
    return n, values


def _measure(job: _Job) -> Values:
    region = preprocess.region(volumes.read(job.volume), job.annotation, job.preprocessing)
    grid = job.settings
    texture = glcm.features(region.voxels, levels=grid.levels, steps=grid.steps, symmetric=grid.symmetric)
    fit = nakagami.fit(region.voxels, region.dynamic_range_db, input=grid.nakagami_input)
    envelope = pd.Series([fit.m, fit.omega], index=list(NAKAGAMI))
    return pd.concat([texture, envelope, first_order.features(region.voxels)])[job.names].to_numpy()


def _key(job: _Job) -> str:
    """SHA-256 of everything that decides the numbers of one volume."""
    sidecar = volumes.find_sidecar(job.volume)
    parts = [
        job.volume.read_bytes(),
        sidecar.read_bytes() if sidecar.exists() else b"",
        repr((job.annotation, job.preprocessing, job.settings)).encode(),
        _sources(),
    ]
    # Digests have one length: no two lists of parts run together to the same bytes.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@functools.cache
def _sources() -> bytes:
    modules = (volumes, preprocess, glcm, glcm_kernel, nakagami, first_order, sys.modules[__name__])
    return "".join(map(inspect.getsource, modules)).encode()


def _keep(values: Values, path: Path) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, values)
    partial.replace(path)


def _read_kept(path: Path, size: int) -> Values | None:
    """Numbers kept by an earlier run; None where there are none, or a power cut left a broken file."""
    try:
        values = np.load(path)
    except (FileNotFoundError, EOFError, ValueError):
        return None
    return np.asarray(values, dtype=np.float64) if values.shape == (size,) else None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
