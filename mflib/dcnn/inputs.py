"""The network's inputs: normalised, cropped, z-scored and resized once, then read from disk one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from mflib import atomic, preprocess, stored
from mflib import volume as volumes
from mflib.cohort import Cohort
from mflib.dcnn.settings import Settings
from mflib.dcnn.weights import sha256
from mflib.preprocess import PreprocessError
from mflib.progress import Progress
from mflib.volume import KEY

SOURCES = tuple(Path(str(source)) for source in (preprocess.__file__, stored.__file__, volumes.__file__, __file__))


@dataclass(frozen=True)
class StoredVolumes:
    """Inputs on disk, one ``.npy`` per volume, in the order of the segments table."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int, /) -> NDArray[np.float32]:
        voxels: NDArray[np.float32] = np.load(self.paths[position])
        return voxels


def prepare(
    cohort: Cohort, preprocessing: preprocess.Settings, settings: Settings, folder: Path, workers: int
) -> StoredVolumes:
    """Preprocess every analysed volume that is not in ``folder`` yet.

    A volume is made again when its file, its annotation, the settings or the code of the preprocessing change.

    Parameters
    ----------
    settings : their size, gain and scale
    folder : where the inputs are kept
    workers : processes

    Raises
    ------
    PreprocessError
        A volume cannot be normalised; the message names it.
    """
    segments = cohort.segments.to_dict("records")
    paths = [folder / _file_name(cohort, segment, preprocessing, settings) for segment in segments]
    missing = [(segment, path) for segment, path in zip(segments, paths, strict=True) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        progress = Progress("network inputs", len(missing))
        jobs = (delayed(_store)(cohort, segment, preprocessing, settings, path) for segment, path in missing)
        for _ in Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
            progress.advance()
    return StoredVolumes(tuple(paths))


def made(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.Settings, settings: Settings
) -> NDArray[np.float32]:
    """The network's input from one row of the cohort's segments.

    Raises
    ------
    PreprocessError
        It cannot be normalised.
    """
    region = preprocess.region(cohort.volume(segment), cohort.annotation(segment), preprocessing)
    return of_region(region, preprocessing, settings)


def of_region(region: preprocess.Region, preprocessing: preprocess.Settings, settings: Settings) -> NDArray[np.float32]:
    """The network's input from a region of interest.

    Raises
    ------
    PreprocessError
        All voxels are equal.
    """
    voxels = region.voxels if settings.gain == "normalised" else region.raw
    zscored = settings.scale == "zscore"
    scaled = preprocess.zscore(voxels) if zscored else preprocess.fixed_scale(voxels, preprocessing)
    return preprocess.network_input(scaled, settings.size)


def _file_name(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.Settings, settings: Settings
) -> str:
    source = cohort.root / segment["path"]
    files = [source, volumes.find_sidecar(source), *SOURCES]
    choices = (
        tuple(settings.size),
        settings.gain,
        settings.scale,
        *map(version, ("numpy", "scikit-image", "simpleitk")),
    )
    made_from = [cohort.annotation(segment), preprocessing, *choices, *(sha256(f) for f in files if f.exists())]
    digest = hashlib.sha256(repr(made_from).encode()).hexdigest()
    return "_".join([*(str(segment[key]) for key in KEY), digest[:16]]) + ".npy"


def _store(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.Settings, settings: Settings, path: Path
) -> None:
    try:
        voxels = made(cohort, segment, preprocessing, settings)
    except PreprocessError as error:
        raise PreprocessError(f"{segment['path']}: {error}") from error
    atomic.write_array(path, voxels)
