"""Where things lie in one volume, and how each volume comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base.words import SIDES
from mflib.data.phantom.fields import Array, Grid, wave
from mflib.data.volume import Annotation

SPINOUS_BELOW_FASCIA_MM = 2.2
SHADOW_BELOW_BONE_MM = 12.0
ROI_FROM_SPINOUS_MM = 4.4
ROI_BELOW_FASCIA_MM = 1.6


@dataclass(frozen=True)
class Parameters:
    """What sets one volume apart from another.

    Parameters
    ----------
    severity : fatty infiltration of the muscle, 0 (none) to about 1
    side : "L" or "R"
    depth_mm : depth of the picture, 40 to 70
    subcutis_mm, thickness_mm : subcutaneous fat; muscle from fascia to lamina
    spinous_mm : distance of the spinous process from the medial edge of the picture
    echo_db, bone_db : brightness of tissue and of bone, relative to the typical patient
    attenuation : dB/cm/MHz
    spacing_mm : distance of the lamellae
    obliquity_deg, dip_deg : fascicles against the spine, seen from behind; and into the depth
    gain_percent : the gain knob
    widening : factor of the beam width behind the subcutaneous fat

    Raises
    ------
    ValueError
        A parameter is outside what the anatomy can hold.
    """

    severity: float
    side: str = "R"
    depth_mm: float = 51.2
    subcutis_mm: float = 7.0
    thickness_mm: float = 28.0
    spinous_mm: float = 5.0
    echo_db: float = 0.0
    bone_db: float = 0.0
    attenuation: float = 0.70
    spacing_mm: float = 1.1
    obliquity_deg: float = 15.0
    dip_deg: float = 4.0
    gain_percent: float = 50.0
    widening: float = 1.0

    def __post_init__(self) -> None:
        if self.side not in ("L", "R"):
            raise ValueError(f"side is {self.side!r}, expected 'L' or 'R'")
        ranges = {"severity": (0, 1.1), "depth_mm": (40, 70), "subcutis_mm": (2, 15), "spacing_mm": (0.7, 2)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected {low} to {high}")
        if self.subcutis_mm + self.thickness_mm > 0.95 * self.depth_mm:
            raise ValueError(f"the lamina at {self.subcutis_mm + self.thickness_mm:.1f} mm lies below the picture")


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Depth in mm of the interfaces at each (lateral, elevation) sample; (ni, nk) each.

    Parameters
    ----------
    skin, subcutaneous, fascia : from the top; ``subcutaneous`` and ``fascia`` are pairs
    spinous : arc of the spinous process
    spinous_inside : 1 where the process lies, 0 beside it
    lamina : lamina and facet joint
    lamina_echo : directivity of the lamina, by its slope
    septum_bend : lateral shift in mm of the septum along the elevation axis, (nk,)
    septum_phase : phase of the septum's waves in depth
    """

    skin: Array
    subcutaneous: tuple[Array, Array]
    fascia: tuple[Array, Array]
    spinous: Array
    spinous_inside: Array
    lamina: Array
    lamina_echo: Array
    septum_bend: Array
    septum_phase: float


def surfaces(parameters: Parameters, grid: Grid, rng: np.random.Generator) -> Surfaces:
    """Draw the interfaces of one volume."""
    x, y = grid.lateral, grid.elevation
    flat = np.zeros((len(x), len(y)), np.float32)
    fat = parameters.subcutis_mm
    sheet = wave(rng, x, y, 45) * np.float32(0.25)
    lamina = _lamina(parameters, grid, rng)
    slope = np.hypot(*np.gradient(lamina, grid.voxel_mm))
    off_axis = x[:, None] - np.float32(parameters.spinous_mm) + flat
    return Surfaces(
        skin=flat + 0.7 + 0.1 * wave(rng, x, y, 30),
        subcutaneous=(
            flat + 0.36 * fat + 0.07 * fat * wave(rng, x, y, 30),
            flat + 0.66 * fat + 0.06 * fat * wave(rng, x, y, 30),
        ),
        fascia=(fat + sheet - 0.2, fat + sheet + 0.9 + 0.12 * wave(rng, x, y, 25)),
        spinous=np.float32(fat + SPINOUS_BELOW_FASCIA_MM) + np.float32(0.14) * off_axis**2,
        spinous_inside=0.5 - 0.5 * np.tanh((np.abs(off_axis) - 3.2) / 0.4),
        lamina=lamina,
        lamina_echo=np.exp(-((slope / 0.55) ** 2)),
        septum_bend=(0.6 * wave(rng, x[:1], y, 15)[0]).astype(np.float32),
        septum_phase=rng.uniform(0, 2 * np.pi),
    )


def _lamina(parameters: Parameters, grid: Grid, rng: np.random.Generator) -> Array:
    """Depth of the lamina: a rolling sheet with the facet joint rising out of it."""
    x, y = grid.lateral[:, None], grid.elevation[None, :]
    base = parameters.subcutis_mm + parameters.thickness_mm
    facet_x = parameters.spinous_mm + rng.uniform(13, 20)
    facet_y = rng.uniform(0.2, 0.8) * grid.elevation[-1]
    facet = rng.uniform(2.5, 4.5) * np.exp(-(((x - facet_x) / 2.8) ** 2) - ((y - facet_y) / 9) ** 2)
    rolling = 0.55 * wave(rng, grid.lateral, grid.elevation, 22) + 0.25 * wave(rng, grid.lateral, grid.elevation, 9)
    return (base + rolling - facet).astype(np.float32)


def annotate(parameters: Parameters, grid: Grid, roi_size: tuple[int, int, int]) -> Annotation:
    """The operator's marks: spinous process, its shadow, and a region of interest on the muscle beside it.

    Raises
    ------
    ValueError
        The region of interest does not fit beside the spinous process and below the fascia.
    """
    v, (ni, nj, nk) = grid.voxel_mm, grid.shape
    i, k = int(parameters.spinous_mm / v), nk // 2
    bone_mm = parameters.subcutis_mm + SPINOUS_BELOW_FASCIA_MM
    start = (
        round((parameters.spinous_mm + ROI_FROM_SPINOUS_MM) / v),
        round((parameters.subcutis_mm + ROI_BELOW_FASCIA_MM) / v),
        (nk - roi_size[2]) // 2,
    )
    if start[0] + roi_size[0] > ni or start[1] + roi_size[1] > nj:
        raise ValueError(f"ROI of {roi_size} voxels from {start} does not fit in a volume of {grid.shape}")
    if parameters.side == "L":
        i, start = ni - 1 - i, (ni - start[0] - roi_size[0], *start[1:])
    return Annotation(
        bone=(i, int(bone_mm / v), k),
        shadow=(i, int((bone_mm + SHADOW_BELOW_BONE_MM) / v), k),
        roi_start=start,
        roi_size=roi_size,
    )


Floats = NDArray[np.float64]


def acquisitions(patients: pd.DataFrame, table: pd.DataFrame, rng: np.random.Generator) -> list[Parameters]:
    """Draw what sets each segment's volume apart.

    Parameters
    ----------
    patients : ``sex bmi``, one row per patient
    table : of :func:`segments`
    rng : source of randomness

    Returns
    -------
    list of Parameters
        In the order of ``table``.
    """
    n, rows = len(patients), len(table)
    of = table["patient"].to_numpy()
    habitus = _habitus(patients, rng)
    level = table["segment"].to_numpy() // len(SIDES)
    subcutis = np.clip(habitus["subcutis"][of] + 0.4 * level + rng.normal(0, 0.3, rows), 2.5, 14)
    thickness = np.clip(habitus["thickness"][of] + 0.8 * (level - 1.5) + rng.normal(0, 0.7, rows), 20, 36)
    depth = _depth(subcutis, thickness)
    severity = table["severity"].to_numpy()
    columns = {
        "severity": severity,
        "side": table["lat"].to_numpy(),
        "depth_mm": depth,
        "subcutis_mm": subcutis,
        "thickness_mm": thickness,
        "spinous_mm": rng.uniform(4.6, 6.2, rows),
        "echo_db": rng.normal(0, 1.3, n)[of] + rng.normal(0, 0.6, rows),
        "bone_db": rng.normal(0, 1.2, rows),
        "attenuation": rng.normal(0.70, 0.045, n)[of] + 0.05 * severity,
        "spacing_mm": np.clip(1.1 * np.exp(rng.normal(0, 0.12, n)[of] + rng.normal(0, 0.05, rows)), 0.75, 1.9),
        "obliquity_deg": rng.uniform(9, 22, rows),
        "dip_deg": rng.uniform(1, 8, rows),
        "gain_percent": rng.uniform(45, 55, rows).round(1),
        "widening": np.clip(1 + 0.02 * (subcutis - 7), 0.9, 1.2),
    }
    frame = pd.DataFrame(columns)
    return [Parameters(**{str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]


def _habitus(patients: pd.DataFrame, rng: np.random.Generator) -> dict[str, Floats]:
    """Subcutaneous fat and muscle thickness in mm of each patient."""
    n = len(patients)
    man = np.where(patients["sex"] == "M", 1.0, -1.0)
    heavy = patients["bmi"].to_numpy() - 23.17
    return {
        "subcutis": 6.6 - 0.5 * man + 0.5 * heavy + rng.normal(0, 1.0, n),
        "thickness": 27.5 + 1.2 * man + 0.15 * heavy + rng.normal(0, 2.0, n),
    }


def _depth(subcutis: Floats, thickness: Floats) -> Floats:
    """Depth of the picture in mm, set in steps of 5 so that the lamina and the region of interest are inside."""
    needed = np.maximum((subcutis + thickness) / 0.76, (subcutis + 2) / 0.29)
    return np.clip(np.ceil(needed / 5) * 5, 40, 70)
