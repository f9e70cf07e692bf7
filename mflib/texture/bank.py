"""The texture bank: cohort in, texture table out, in parallel and resumable.

Each volume's numbers are kept on disk as soon as they are there, under a key of everything that decides them. A run
that was killed loses the volumes in hand; a changed volume, annotation, setting or source computes what it touches.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib import atomic, parallel, preprocess, stored
from mflib import volume as volumes
from mflib.cohort import Cohort
from mflib.progress import Progress
from mflib.texture import first_order, glcm, glcm_kernel, nakagami
from mflib.volume import KEY, Annotation

Values = NDArray[np.float64]

NAKAGAMI = ("nakagami_m", "nakagami_omega")
# Not a feature, but what a reader of features should know: few levels make coarse ones.
GREY_LEVELS = "grey_levels"
# A few of thousands, to be shown.
EXAMPLES = (
    "first_order_mean", "first_order_entropy", "glcm_64_1_1.0.0_contrast", "glcm_64_1_0.1.0_contrast",
    "glcm_64_1_1.0.0_correlation", "glcm_256_1_1.0.0_ASM", "nakagami_m", "nakagami_omega",
)  # fmt: skip


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
    nakagami_input, nakagami_estimator : see `nakagami.fit`
    """

    levels: tuple[int, ...] = glcm.LEVELS
    steps: tuple[int, ...] = glcm.STEPS
    symmetric: bool = True
    nakagami_input: nakagami.Input = "intensity"
    nakagami_estimator: nakagami.Estimator = "ml"

    def __post_init__(self) -> None:
        """Refuse what every volume would be refused for."""
        glcm.check_grid(self.levels, self.steps)
        nakagami.check_kind(self.nakagami_input, self.nakagami_estimator)

    def names(self, roi_size: Sequence[int]) -> list[str]:
        """Columns of a region of this size, in the order of the texture table."""
        return [*glcm.names(roi_size, self.levels, self.steps), *NAKAGAMI, *first_order.NAMES, GREY_LEVELS]


@dataclass(frozen=True)
class Job:
    """One region to measure.

    Parameters
    ----------
    volume : path of the volume; a worker elsewhere must find it under the same path
    annotation : reference points and region of interest
    preprocessing, settings : of normalisation and features
    gain_db : change of the gain before everything else, see `preprocess.change_gain`
    """

    volume: Path
    annotation: Annotation
    preprocessing: preprocess.Settings
    settings: Settings
    gain_db: float = 0.0

    @property
    def names(self) -> list[str]:
        """Columns of the texture table that this region fills."""
        return self.settings.names(self.annotation.roi_size)


def extract(
    cohort: Cohort,
    preprocessing: preprocess.Settings,
    settings: Settings,
    cache: Path,
    *,
    workers: int,
    scheduler: str = "",
) -> pd.DataFrame:
    """Measure the gain-normalised region of interest of every segment.

    Parameters
    ----------
    cohort : its ``segments`` give rows and order
    preprocessing : gain normalisation
    settings : what is measured
    cache : folder for the numbers of each volume, made where there is none
    workers, scheduler : processes here, or a Dask cluster in their place, see `parallel.outcomes`; the numbers do not
        depend on them

    Returns
    -------
    DataFrame
        The texture table: KEY, GLCM features, Nakagami m and omega, first-order statistics, and ``grey_levels``, the
        number of distinct grey levels in the region. Of the GLCM grid those combinations that fit into every region,
        in the order of `glcm.names`.

    Raises
    ------
    BankError
        Volumes could not be measured; all of them are listed. The others are kept.
    parallel.SchedulerError
        The cluster does not answer, or has no workers. What is measured is kept.
    """
    jobs = [
        Job(cohort.root / segment["path"], cohort.annotation(segment), preprocessing, settings)
        for segment in cohort.segments.to_dict("records")
    ]
    measured, failures = run(jobs, cache, workers=workers, scheduler=scheduler)
    if failures:
        paths = cohort.segments["path"]
        raise BankError({str(paths.iloc[n]): reason for n, reason in failures.items()}, len(jobs))
    return pd.concat([cohort.segments[KEY], table(jobs, measured).set_index(cohort.segments.index)], axis=1)


def run(
    jobs: Sequence[Job], cache: Path, *, workers: int, scheduler: str = "", label: str = "texture"
) -> tuple[dict[int, Values], dict[int, str]]:
    """Measure what is not in the cache yet.

    Returns
    -------
    (dict, dict)
        By position of the job its numbers in the order of ``Job.names``, or the reason why there are none.

    Raises
    ------
    OSError
        The cache cannot be written, for a full disk say. What was kept before stays.
    """
    cache.mkdir(parents=True, exist_ok=True)
    measured: dict[int, Values] = {}
    failures: dict[int, str] = {}
    progress = Progress(label, len(jobs))
    for n, outcome in _outcomes(jobs, cache, workers, scheduler):
        if isinstance(outcome, Exception):
            failures[n] = f"{type(outcome).__name__}: {outcome}"
            print(f"{label} of {jobs[n].volume.name}: {failures[n]}", flush=True)
        else:
            measured[n] = outcome
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    return measured, failures


def table(jobs: Sequence[Job], measured: Mapping[int, Values]) -> pd.DataFrame:
    """One row for each measured job, in their order, with the columns that every region has; jobs share settings."""
    smallest = np.min([job.annotation.roi_size for job in jobs], axis=0)
    shared = pd.Index(jobs[0].settings.names(tuple(smallest)))
    # Regions have few different sizes: where a size's columns lie is looked up once.
    places = functools.cache(lambda size: pd.Index(jobs[0].settings.names(size)).get_indexer(shared))
    there = [n for n in range(len(jobs)) if n in measured]
    values = np.stack([measured[n][places(jobs[n].annotation.roi_size)] for n in there])
    return pd.DataFrame(values, columns=shared, index=there).astype({GREY_LEVELS: int})


def measure(voxels: NDArray[np.uint8], dynamic_range_db: float, settings: Settings) -> pd.Series:
    """Every feature of one region, and its number of grey levels.

    Parameters
    ----------
    voxels : (ni, nj, nk) uint8
    dynamic_range_db : of their log compression, see `nakagami.fit`
    settings : what is measured

    Raises
    ------
    ValueError
        A flat region, or one into which no GLCM step fits.
    """
    texture = glcm.features(voxels, levels=settings.levels, steps=settings.steps, symmetric=settings.symmetric)
    fit = nakagami.fit(voxels, dynamic_range_db, input=settings.nakagami_input, estimator=settings.nakagami_estimator)
    rest = [fit.m, fit.omega, *first_order.features(voxels), np.unique(voxels).size]
    return pd.concat([texture, pd.Series(rest, index=[*NAKAGAMI, *first_order.NAMES, GREY_LEVELS])])


def _outcomes(
    jobs: Sequence[Job], cache: Path, workers: int, scheduler: str
) -> Iterator[tuple[int, Values | Exception]]:
    """Position and numbers, or what went wrong, of each job as it is done; kept ones first."""
    missing: list[tuple[int, Path]] = []
    for n, job in enumerate(jobs):
        try:
            kept = cache / f"{_key(job)}.npy"
        except OSError as error:
            yield n, error
            continue
        values = _read_kept(kept, len(job.names))
        if values is None:
            missing.append((n, kept))
        else:
            yield n, values
    work = [jobs[n] for n, _ in missing]
    for position, outcome in parallel.outcomes(_measure, None, work, workers=workers, scheduler=scheduler):
        n, kept = missing[position]
        if not isinstance(outcome, Exception):
            atomic.write_array(kept, outcome)
        yield n, outcome


def _measure(_: None, job: Job) -> Values:
    recorded = volumes.read(job.volume)
    if job.gain_db:
        recorded = preprocess.change_gain(recorded, job.gain_db, job.preprocessing)
    region = preprocess.region(recorded, job.annotation, job.preprocessing)
    return measure(region.voxels, region.dynamic_range_db, job.settings).to_numpy(float)


def _key(job: Job) -> str:
    """SHA-256 of everything that decides the numbers of one volume."""
    sidecar = volumes.find_sidecar(job.volume)
    parts = [
        job.volume.read_bytes(),
        sidecar.read_bytes() if sidecar.exists() else b"",
        repr((job.annotation, job.preprocessing, job.settings, job.gain_db)).encode(),
        _made_by().encode(),
    ]
    # Digests have one length: no two lists of parts run together to the same bytes.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@functools.cache
def _made_by() -> str:
    """Digest of the sources and versions that the numbers depend on."""
    modules = (stored, volumes, preprocess, glcm, glcm_kernel, nakagami, first_order, sys.modules[__name__])
    packages = [f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "simpleitk")]
    return hashlib.sha256("".join([*map(inspect.getsource, modules), *packages]).encode()).hexdigest()


def _read_kept(path: Path, size: int) -> Values | None:
    """Numbers kept by an earlier run; None where there are none, or a power cut left a broken file."""
    try:
        values = np.load(path)
    except (FileNotFoundError, EOFError, ValueError):
        return None
    return np.asarray(values, dtype=np.float64) if values.shape == (size,) else None
