"""The texture of one volume file, without a cohort around it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from mflib.base import files, parallel
from mflib.base.errors import InputError, RunError
from mflib.base.language import tell
from mflib.base.made_by import digest
from mflib.base.progress import Progress
from mflib.base.settings import STRICT, Distinct, Number, Whole
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import SPACING, Cohort
from mflib.data.volume import Annotation, Index
from mflib.models.texture import glcm, intensity

Values = NDArray[np.float64]
Spacing = tuple[float, float, float]
NAKAGAMI = ("nakagami_m", "nakagami_omega")
# Not a feature, but what a reader of features should know: few levels make coarse ones.
GREY_LEVELS = "grey_levels"
# A few of thousands, to be shown.
EXAMPLES = (
    "first_order_mean", "first_order_entropy", "glcm_64_1_1.0.0_contrast", "glcm_64_1_0.1.0_contrast",
    "glcm_64_1_1.0.0_correlation", "glcm_256_1_1.0.0_ASM", "nakagami_m", "nakagami_omega",
)  # fmt: skip
Millimetres = Annotated[Number, Field(ge=0.01, le=20)]


@settings(frozen=True, config=STRICT)
class TextureSettings:
    """What is measured.

    Parameters
    ----------
    voxel_mm : voxels that the steps of the GLCM count: "as-recorded", which is the paper's way, "coarsest" for one size
        in all volumes, along each axis the largest of the cohort, or that size in mm along i, j, k. Grey-level
        statistics and Nakagami have no steps, and take the region as recorded
    levels, steps, symmetric : the GLCM grid, see `glcm.features`
    nakagami_input : see `intensity.fit`
    """

    voxel_mm: Literal["as-recorded", "coarsest"] | tuple[Millimetres, Millimetres, Millimetres] = "coarsest"
    levels: Annotated[Distinct[Annotated[Whole, Field(ge=2, le=256)]], Field(min_length=1)] = glcm.LEVELS
    steps: Annotated[Distinct[Annotated[Whole, Field(ge=1, le=1000)]], Field(min_length=1)] = glcm.STEPS
    symmetric: bool = True
    nakagami_input: intensity.Input = "intensity"

    def for_cohort(self, cohort: Cohort) -> TextureSettings:
        """The settings with the cohort's coarsest voxel size by its number; no label is looked at."""
        if self.voxel_mm != "coarsest":
            return self
        i, j, k = cohort.segments[list(SPACING)].max().tolist()
        return replace(self, voxel_mm=(i, j, k))

    def voxel(self, spacing_mm: Spacing) -> Spacing:
        """Size of the voxels, in mm, that the GLCM of a volume with this spacing is made of.

        Raises
        ------
        ValueError
            The size was left to a cohort; see `for_cohort`.
        """
        if self.voxel_mm == "coarsest":
            raise ValueError("voxel_mm: found 'coarsest' without a cohort, expected three numbers or 'as-recorded'")
        return spacing_mm if isinstance(self.voxel_mm, str) else self.voxel_mm

    def resampled(self, voxels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
        """What the GLCM of a region with this spacing is made of; see `glcm.resampled`."""
        return glcm.resampled(voxels, spacing_mm, self.voxel(spacing_mm))

    def names(self, size: Sequence[int]) -> list[str]:
        """Columns of a region of this size in the voxels of the GLCM, in the order of the texture table."""
        return [*glcm.names(size, self.levels, self.steps), *NAKAGAMI, *intensity.NAMES, GREY_LEVELS]


@dataclass(frozen=True)
class Job:
    """One region to measure.

    Parameters
    ----------
    volume : path of the volume; a worker elsewhere must find it under the same path
    annotation : reference points and region of interest
    spacing_mm : voxel size of the volume
    preprocessing, settings : of normalisation and features
    gain_db : change of the gain before everything else, see `preprocess.change_gain`
    """

    volume: Path
    annotation: Annotation
    spacing_mm: Spacing
    preprocessing: preprocess.GainSettings
    settings: TextureSettings
    gain_db: float = 0.0

    @property
    def size(self) -> Index:
        """Extent of the region in the voxels of the GLCM."""
        return glcm.size_in(self.annotation.roi_size, self.spacing_mm, self.settings.voxel(self.spacing_mm))


def extract(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    settings: TextureSettings,
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
    InputError
        A region into which no GLCM step fits, before any work.
    RunError
        Volumes could not be measured; all of them are listed. The others are kept.
    RunError
        The cluster does not answer, or has no workers. What is measured is kept.
    """
    jobs = [of_segment(cohort, one, preprocessing, settings) for one in cohort.segments.to_dict("records")]
    if any(min(settings.steps) >= max(job.size) for job in jobs):
        raise InputError(f"no step of {list(settings.steps)} leaves a pair of voxels in every region of interest")
    measured, failures = run(jobs, cache, workers=workers, scheduler=scheduler)
    if failures:
        paths = cohort.segments["path"]
        raise unmeasured({str(paths.iloc[n]): reason for n, reason in failures.items()}, len(jobs))
    return pd.concat([cohort.segments[KEY], table(jobs, measured).set_index(cohort.segments.index)], axis=1)


def of_segment(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.GainSettings, settings: TextureSettings
) -> Job:
    """The job that measures one row of the cohort's segments as annotated; other parameters as in `extract`."""
    place, settings = cohort.root / segment["path"], settings.for_cohort(cohort)
    return Job(place, cohort.annotation(segment), cohort.spacing(segment), preprocessing, settings)


def unmeasured(reasons: Mapping[str, str], total: int) -> RunError:
    """The error that names every volume that could not be measured."""
    lines = "\n".join(f"  {path}: {reason}" for path, reason in sorted(reasons.items()))
    return RunError(f"{len(reasons)} of {total} volumes could not be measured; the others are kept:\n{lines}")


def run(
    jobs: Sequence[Job], cache: Path, *, workers: int, scheduler: str = "", label: str = "texture"
) -> tuple[dict[int, Values], dict[int, str]]:
    """Measure what is not in the cache yet.

    Returns
    -------
    (dict, dict)
        By position of the job its numbers in the order of ``TextureSettings.names``, or the reason why there are none.

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
            tell(f"{label} of {jobs[n].volume.name}: {failures[n]}")
        else:
            measured[n] = outcome
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    return measured, failures


def table(jobs: Sequence[Job], measured: Mapping[int, Values]) -> pd.DataFrame:
    """One row for each measured job, in their order, with the columns that every region has; jobs share settings."""
    smallest = np.min([job.size for job in jobs], axis=0)
    shared = pd.Index(jobs[0].settings.names(tuple(smallest)))
    # Many regions are of one size: where a size's columns lie is looked up once.
    places = functools.cache(lambda size: pd.Index(jobs[0].settings.names(size)).get_indexer(shared))
    there = [n for n in range(len(jobs)) if n in measured]
    values = np.stack([measured[n][places(jobs[n].size)] for n in there])
    return pd.DataFrame(values, columns=shared, index=there).astype({GREY_LEVELS: int})


def measure(
    voxels: NDArray[np.uint8], spacing_mm: Spacing, dynamic_range_db: float, settings: TextureSettings
) -> pd.Series:
    """Every feature of one region, and its number of grey levels.

    Parameters
    ----------
    voxels : (ni, nj, nk) uint8
    spacing_mm : voxel size along i, j, k
    dynamic_range_db : of their log compression, see `intensity.fit`
    settings : what is measured

    Raises
    ------
    ValueError
        A flat region, or one into which no GLCM step fits.
    """
    grid = settings.resampled(voxels, spacing_mm)
    texture = glcm.features(grid, levels=settings.levels, steps=settings.steps, symmetric=settings.symmetric)
    fit = intensity.fit(voxels, dynamic_range_db, settings.nakagami_input)
    rest = [fit.m, fit.omega, *intensity.features(voxels), np.unique(voxels).size]
    return pd.concat([texture, pd.Series(rest, index=[*NAKAGAMI, *intensity.NAMES, GREY_LEVELS])])


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
        values = _read_kept(kept, len(job.settings.names(job.size)))
        if values is None:
            missing.append((n, kept))
        else:
            yield n, values
    work = [jobs[n] for n, _ in missing]
    for position, outcome in parallel.outcomes(_measure, None, work, workers=workers, scheduler=scheduler):
        n, kept = missing[position]
        if not isinstance(outcome, Exception):
            files.write_array(kept, outcome)
        yield n, outcome


def _measure(_: None, job: Job) -> Values:
    recorded = volumes.read(job.volume)
    if job.gain_db:
        recorded = preprocess.change_gain(recorded, job.gain_db, job.preprocessing)
    region = preprocess.region(recorded, job.annotation, job.preprocessing)
    return measure(region.voxels, recorded.spacing_mm, region.dynamic_range_db, job.settings).to_numpy(float)


def _key(job: Job) -> str:
    """SHA-256 of everything that decides the numbers of one volume."""
    sidecar = volumes.find_sidecar(job.volume)
    parts = [
        job.volume.read_bytes(),
        sidecar.read_bytes() if sidecar.exists() else b"",
        repr((job.annotation, job.preprocessing, job.settings, job.gain_db)).encode(),
        digest(__name__).encode(),
    ]
    # Digests have one length: no two lists of parts run together to the same bytes.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _read_kept(path: Path, size: int) -> Values | None:
    """Numbers kept by an earlier run; None where there are none, or a power cut left a broken file."""
    try:
        values = np.load(path)
    except (FileNotFoundError, EOFError, ValueError):
        return None
    return np.asarray(values, dtype=np.float64) if values.shape == (size,) else None


def measure_file(
    path: Path,
    preprocessing: preprocess.GainSettings,
    settings: TextureSettings,
    *,
    roi: tuple[int, int, int, int, int, int] | None = None,
    bone: Index | None = None,
    shadow: Index | None = None,
) -> pd.DataFrame:
    """Measure a region of a volume; gain-normalised where both reference points are given, else as recorded.

    Parameters
    ----------
    path : NIfTI, NRRD or MHA, with its sidecar where it has one
    preprocessing, settings : of normalisation and features; the coarsest voxel of a single volume is its own
    roi : first voxel (i, j, k) and extent (ni, nj, nk), 0-based; the whole volume by default
    bone, shadow : voxel on the spinous process, and in its acoustic shadow

    Returns
    -------
    DataFrame
        One row: ``volume`` (the file's name), then the columns of the texture table.

    Raises
    ------
    FileError
        The file cannot be used.
    InputError
        One reference point without the other, a point or region outside the volume, a bone darker than its shadow, a
        flat region, or one into which no GLCM step fits.
    """
    recorded = volumes.read(path)
    shape = recorded.voxels.shape
    first, size = ((0, 0, 0), shape) if roi is None else (roi[:3], roi[3:])
    if (bone is None) != (shadow is None):
        raise InputError("found one reference point, expected bone and shadow or neither")
    annotation = Annotation(bone or (0, 0, 0), shadow or (0, 0, 0), first, (size[0], size[1], size[2]))
    annotation.check_inside(shape)
    if settings.voxel_mm == "coarsest":
        settings = replace(settings, voxel_mm=recorded.spacing_mm)
    voxels, range_db = recorded.voxels[annotation.roi], preprocess.recorded_range(recorded, preprocessing)
    if bone is not None:
        region = preprocess.region(recorded, annotation, preprocessing)
        voxels, range_db = region.voxels, region.dynamic_range_db
    features = measure(voxels, recorded.spacing_mm, range_db, settings)
    return pd.DataFrame([{"volume": path.name, **features}]).astype({GREY_LEVELS: int})
