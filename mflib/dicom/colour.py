"""Grey levels of pixels that are stored as colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EQUAL_WITHIN = 4
"""Channels that differ by no more are grey: conversion from YBR rounds, and lossy compression blurs."""

BLACK = 32
"""What is no brighter has no colour: lossy compression spreads that of a mark over the black around it."""


def grey(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Grey levels, and where the frame is coloured.

    Parameters
    ----------
    frame : (rows, columns) grey, or (rows, columns, 3)

    Returns
    -------
    tuple
        Luminance (rows, columns; ITU-R BT.601), which is the channels' own value where they are equal, and the
        brightest channel where they are not, so that coloured text stays as bright as it is. Then the mask of coloured
        pixels, None where there is none.
    """
    if frame.ndim == 2:
        return frame, None
    red, green, blue = (frame[..., c].astype(np.uint32) for c in range(3))
    levels = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    brightest = frame.max(axis=-1)
    coloured = (brightest - frame.min(axis=-1) > EQUAL_WITHIN) & (brightest > BLACK)
    return np.where(coloured, brightest, levels), coloured if coloured.any() else None
