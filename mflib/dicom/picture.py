"""Grey levels of a file without what does not belong to the tissue: borders, burnt-in text, colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mflib.dicom import burnt_in, colour, opening, pixels
from mflib.dicom.acquisition import Geometry
from mflib.dicom.elements import DicomError, guarded, word
from mflib.dicom.pixels import Layout


def clean(path: Path, header: Dataset, stored: Layout, place: Geometry) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey levels of all planes, cut to the declared region and masked where text is burnt in.

    Parameters
    ----------
    path : file
    header : what it says before its pixels
    stored : how its pixels are stored
    place : how many planes it holds, and where in the pictures the tissue lies

    Returns
    -------
    tuple
        (planes, rows, columns) uint8 in stored order, and what was taken away, in words.

    Raises
    ------
    DicomError
        Pixels cannot be decoded, are coloured, or bear text that cannot be found.
    """
    grey, coloured = _decoded(path, stored, place)
    mask = burnt_in.find(grey)
    masked = np.zeros(grey.shape[1:], bool) if mask is None else mask
    _refuse_colour(coloured, masked, grey.size)
    notices = _taken_away(header, stored, place, mask)
    grey[:, masked] = 0
    return grey, notices


def _decoded(path: Path, stored: Layout, place: Geometry) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Planes within the region, and the masks of colour of those that have any."""
    ds = opening.whole(path)
    box = place.region.box if place.region else (slice(None), slice(None))
    coloured: list[NDArray[np.bool_]] = []
    planes: list[NDArray[np.uint8]] = []
    with guarded("the pixel data"):
        # The Cartesian export counts volumes in time where the standard counts planes.
        ds.NumberOfFrames = place.frames
        for frame in pixels.frames(ds, replace(stored, frames=place.frames)):
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


def _taken_away(header: Dataset, stored: Layout, place: Geometry, mask: burnt_in.Mask | None) -> tuple[str, ...]:
    """What was cut and masked; refuses a file that says text is burnt in where none was found."""
    notices: tuple[str, ...] = ()
    if place.region:
        notices += (f"cut to the declared tissue region: {place.region} of {stored.rows} x {stored.columns}",)
    if mask is None:
        notices += (
            "too few frames, or too little that changes, to tell burnt-in text from tissue: look for names in it",
        )
    elif mask.any():
        notices += (f"set to 0 what never changes and looks like burnt-in text: {burnt_in.where(mask)}",)
    if word(header, "BurnedInAnnotation") == "YES" and not place.region and (mask is None or not mask.any()):
        raise DicomError(
            "says that text is burnt in, and no region or constant band was found to mask; "
            "export without annotation or crop"
        )
    return notices
