"""Grey levels of a file without what does not belong to the tissue: borders, burnt-in text, colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mflib.dicom import colour, masking, opening, pixels
from mflib.dicom.acquisition import Geometry
from mflib.dicom.elements import DicomError, guarded, word
from mflib.dicom.pixels import Layout
from mflib.dicom.regions import Region


def clean(
    path: Path, header: Dataset, stored: Layout, place: Geometry, region: Region | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey levels of all planes, cut to the declared region and masked where text is burnt in.

    Parameters
    ----------
    path : file
    header : what it says before its pixels
    stored : how its pixels are stored
    place : how many planes it holds
    region : where in the pictures the tissue lies, None where the file does not declare it

    Returns
    -------
    tuple
        (planes, rows, columns) uint8 in stored order, and what was taken away, in words.

    Raises
    ------
    DicomError
        Pixels cannot be decoded, are coloured, or bear text that cannot be found.
    """
    grey, coloured = _decoded(path, replace(stored, frames=place.frames), region)
    cut = grey.shape[1:] != (stored.rows, stored.columns)
    mask, notices = masking.find(grey, declared=cut, said=word(header, "BurnedInAnnotation"))
    _refuse_colour(coloured, mask, grey.size)
    grey[:, mask] = 0
    if region:
        notices = (f"cut to the declared tissue region: {region} of {stored.rows} x {stored.columns}", *notices)
    return grey, notices


def _decoded(path: Path, stored: Layout, region: Region | None) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Planes within the region, and the masks of colour of those that have any."""
    ds = opening.whole(path)
    box = region.box if region else (slice(None), slice(None))
    coloured: list[NDArray[np.bool_]] = []
    planes: list[NDArray[np.uint8]] = []
    with guarded("the pixel data"):
        # The Cartesian export counts volumes in time where the standard counts planes.
        ds.NumberOfFrames = stored.frames
        for frame in pixels.frames(ds, stored):
            levels, colours = colour.grey(frame[box])
            planes.append(levels)
            coloured += [] if colours is None else [colours]
        return np.stack(planes), coloured


def _refuse_colour(coloured: list[NDArray[np.bool_]], mask: NDArray[np.bool_], size: int) -> None:
    counts = [int((c & ~mask).sum()) for c in coloured]
    if sum(counts):
        share = f"{sum(counts)} voxels ({sum(counts) / size:.2%}) of {np.count_nonzero(counts)} frames"
        raise DicomError(
            f"found true colour in {share}, expected grey: export the B-mode without Doppler, coloured maps and marks"
        )
