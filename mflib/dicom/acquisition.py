"""What the reader hands back, and what it refuses with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Acquisition:
    """One volume of a DICOM file, without anything that names a person.

    Parameters
    ----------
    voxels : (ni, nj, nk) uint8 grey levels; i lateral (columns), j depth (rows), k elevation (frames)
    spacing_mm : voxel size along i, j, k in mm; None where the file does not say all three
    in_plane_mm : voxel size along i and j in mm, where known
    spacing_source : where the spacing comes from, in words
    technical : allow-listed fields under the names of the cohort's sidecar
    notices : what a person should know of how the file was read
    """

    voxels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float] | None
    in_plane_mm: tuple[float, float] | None
    spacing_source: str
    technical: dict[str, Any]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Geometry:
    """Where the frames of a file lie.

    Parameters
    ----------
    frames : how many planes there are
    in_plane_mm : pixel size along columns and rows in mm, where known
    distance_mm : distance of neighbouring planes in mm, where known
    source : where these come from, in words
    order : stored frames in the order of their positions; None keeps the order
    notices : what a person should know
    """

    frames: int
    in_plane_mm: tuple[float, float] | None = None
    distance_mm: float | None = None
    source: str = "not stated"
    order: tuple[int, ...] | None = None
    notices: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Voxel size along i, j, k in mm; None where one is unknown."""
        if self.in_plane_mm is None or self.distance_mm is None:
            return None
        return (*self.in_plane_mm, self.distance_mm)
