"""Eight-bit grey levels, or the reason why numbers are none. Nothing is rescaled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib.dicom import colour
from mflib.importing.errors import Refusal
from mflib.stored import NOT_FINITE

FEWEST = 8
"""Fewest distinct values of a picture; a mask has fewer."""


def from_channels(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """One channel (ni, nj, nk) of equal ones (ni, nj, nk, 3), as equal as DICOM's must be.

    Raises
    ------
    Refusal
        The channels differ, there are not three, or their numbers are no grey levels.
    """
    if voxels.shape[-1] != 3:
        raise Refusal(f"{voxels.shape[-1]} values in each voxel, expected grey, or red, green and blue")
    grey, coloured = colour.grey(to_grey(voxels))
    if coloured is not None:
        planes = int(coloured.any((0, 1)).sum())
        raise Refusal(
            f"true colour: {int(coloured.sum())} coloured voxels in {planes} of {voxels.shape[2]} planes, "
            "expected grey: export without colour and coloured marks"
        )
    return grey


def to_grey(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    """The same numbers as uint8.

    Raises
    ------
    Refusal
        They are not whole numbers from 0 to 255, or as few as in a mask.
    """
    if np.iscomplexobj(voxels):
        raise Refusal("complex numbers as radio-frequency data have, expected grey levels 0 to 255")
    if not np.isfinite(voxels).all():
        raise Refusal(NOT_FINITE)
    low, high = voxels.min(), voxels.max()
    if low < 0 or high > 255:
        raise Refusal(
            f"values from {low:g} to {high:g} ({voxels.dtype}), expected grey levels 0 to 255: "
            "export the B-mode picture with 8 bits"
        )
    grey = voxels.astype(np.uint8)
    if not np.array_equal(grey, voxels):
        raise Refusal(f"fractions ({voxels.dtype}), expected whole grey levels 0 to 255: export with 8 bits")
    levels = int((np.bincount(grey.ravel(), minlength=256) > 0).sum())
    if levels < FEWEST:
        raise Refusal(f"{levels} distinct values as in a mask, expected a picture")
    return grey
