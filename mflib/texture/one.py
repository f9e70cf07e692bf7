"""The texture of one volume file, without a cohort around it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mflib import preprocess
from mflib import volume as volumes
from mflib.texture import bank
from mflib.volume import Annotation, Index


def measure_file(
    path: Path,
    preprocessing: preprocess.Settings,
    settings: bank.Settings,
    *,
    roi: tuple[int, int, int, int, int, int] | None = None,
    bone: Index | None = None,
    shadow: Index | None = None,
) -> pd.DataFrame:
    """Measure a region of a volume; gain-normalised where both reference points are given, else as recorded.

    Parameters
    ----------
    path : NIfTI, NRRD or MHA, with its sidecar where it has one
    preprocessing, settings : of normalisation and features
    roi : first voxel (i, j, k) and extent (ni, nj, nk), 0-based; the whole volume by default
    bone, shadow : voxel on the spinous process, and in its acoustic shadow

    Returns
    -------
    DataFrame
        One row: ``volume`` (the file's name), then the columns of the texture table.

    Raises
    ------
    volume.VolumeError
        The file cannot be used.
    preprocess.PreprocessError
        One reference point without the other, a point or region outside the volume, or a bone darker than its shadow.
    ValueError
        A flat region, or one into which no GLCM step fits.
    """
    recorded = volumes.read(path)
    shape = recorded.voxels.shape
    first, size = ((0, 0, 0), shape) if roi is None else (roi[:3], roi[3:])
    if (bone is None) != (shadow is None):
        raise preprocess.PreprocessError("found one reference point, expected bone and shadow or neither")
    annotation = Annotation(bone or (0, 0, 0), shadow or (0, 0, 0), first, (size[0], size[1], size[2]))
    preprocess.check_inside(shape, annotation)
    if bone is None:
        features = bank.measure(
            recorded.voxels[annotation.roi], preprocess.recorded_range(recorded, preprocessing), settings
        )
    else:
        region = preprocess.region(recorded, annotation, preprocessing)
        features = bank.measure(region.voxels, region.dynamic_range_db, settings)
    table = pd.DataFrame([{"volume": path.name, **features}])
    return table.astype({bank.GREY_LEVELS: int})
