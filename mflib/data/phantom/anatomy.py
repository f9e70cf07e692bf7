"""The grid of one volume, random fields on it, and where things lie in it.

Fields are Gaussian, drawn on coarse nodes and interpolated onto the scanner's grid: depth x lateral x elevation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

from mflib.data.volume import Annotation, Index

Array = NDArray[np.float32]
Spectrum = Callable[[Array, Array, Array], Array]
QUANTILES: Array = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """Samples of the complex baseband signal: two per voxel in depth, one per voxel elsewhere.

    Parameters
    ----------
    shape : (ni, nj, nk) voxels of the volume; lateral, depth, elevation
    voxel_mm : edge of the cubic voxel in mm
    """

    shape: tuple[int, int, int]
    voxel_mm: float

    @property
    def rows(self) -> int:
        """Number of signal samples in depth."""
        return 2 * self.shape[1]

    @property
    def row_mm(self) -> float:
        """Distance between signal samples in depth, in mm."""
        return self.voxel_mm / 2

    @property
    def depth(self) -> Array:
        """(rows,) depth of the samples in mm."""
        return (np.arange(self.rows, dtype=np.float32) + 0.5) * np.float32(self.row_mm)

    @property
    def lateral(self) -> Array:
        """(ni,) lateral position of the samples in mm."""
        return (np.arange(self.shape[0], dtype=np.float32) + 0.5) * np.float32(self.voxel_mm)

    @property
    def elevation(self) -> Array:
        """(nk,) elevation of the samples in mm."""
        return (np.arange(self.shape[2], dtype=np.float32) + 0.5) * np.float32(self.voxel_mm)


@dataclass(frozen=True)
class Mesh:
    """Coarse nodes that cover a grid, with one node to spare before it and two behind it.

    Parameters
    ----------
    grid : what is covered
    step_mm : distance of the nodes in depth, lateral, elevation
    """

    grid: Grid
    step_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of nodes in depth, lateral, elevation."""
        samples = (self.grid.depth, self.grid.lateral, self.grid.elevation)
        depth, lateral, elevation = (int(s[-1] / step) + 4 for s, step in zip(samples, self.step_mm, strict=True))
        return depth, lateral, elevation

    @cached_property
    def depth_weights(self) -> Array:
        """(rows, depth nodes) weights in depth, kept because every slab needs some of them."""
        return self.weights(0)

    def weights(self, axis: int) -> Array:
        """(samples, nodes) Catmull-Rom weights from the nodes to the grid's samples along one axis."""
        positions = (self.grid.depth, self.grid.lateral, self.grid.elevation)[axis]
        return catmull_rom(positions / self.step_mm[axis] + 1, self.shape[axis])

    def spread(self, field: Array) -> Array:
        """Nodes (depth, lateral, elevation) to (depth nodes, ni, nk): interpolated in all but depth."""
        return np.matmul(self.weights(1), field) @ self.weights(2).T

    def resample(self, field: Array, other: Mesh) -> Array:
        """The field of this mesh at the nodes of ``other``."""
        for axis in range(3):
            positions = (np.arange(other.shape[axis]) - 1) * other.step_mm[axis] / self.step_mm[axis] + 1
            weights = catmull_rom(np.clip(positions, 0, self.shape[axis] - 1), self.shape[axis])
            field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
        return np.ascontiguousarray(field)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Standard normal numbers by table look-up, float32: several times faster than ``rng.standard_normal``.

    Each is one of 65536 quantiles, which speckle cannot tell from a continuum.
    """
    draws = np.frombuffer(rng.bytes(2 * math.prod(shape)), "<u2")
    return np.take(QUANTILES, draws, mode="clip").reshape(shape)


def catmull_rom(positions: NDArray[np.floating], nodes: int) -> Array:
    """(positions, nodes) weights of the Catmull-Rom spline; positions in units of nodes, nodes repeated at the ends."""
    base = np.floor(positions).astype(int)
    t = (positions - base).astype(np.float64)
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    weights = np.zeros((len(positions), nodes))
    for offset, tap in enumerate(taps, start=-1):
        np.add.at(weights, (np.arange(len(positions)), np.clip(base + offset, 0, nodes - 1)), tap)
    return weights.astype(np.float32)


def gaussian_field(mesh: Mesh, spectrum: Spectrum, rng: np.random.Generator, margin: float = 1.0) -> Array:
    """Random field of mean 0 and SD 1 with a given amplitude spectrum.

    Parameters
    ----------
    mesh : where the field is wanted
    spectrum : wave numbers in rad/mm (depth, lateral, elevation) to amplitude
    rng : source of randomness
    margin : how much longer than the mesh the periodic elevation axis is, so that its ends do not meet

    Returns
    -------
    (depth, lateral, elevation) float32 of ``mesh.shape``
    """
    depth, lateral, elevation = mesh.shape
    sizes = [fft.next_fast_len(n, real=True) for n in (depth, lateral, round(elevation * margin))]
    cycles = [*map(fft.fftfreq, sizes[:2], mesh.step_mm), fft.rfftfreq(sizes[2], mesh.step_mm[2])]
    kz, kx, ky = np.meshgrid(*((2 * np.pi * c).astype(np.float32) for c in cycles), indexing="ij", sparse=True)
    amplitude = spectrum(kz, kx, ky)
    amplitude[0, 0, 0] = 0
    noise = normal((*amplitude.shape, 2), rng).view(np.complex64)[..., 0]
    field = fft.irfftn(noise * amplitude, sizes)[:depth, :lateral, :elevation]
    field = field.astype(np.float32, copy=False)
    return (field - field.mean()) / field.std()


def smooth(depth_mm: float, lateral_mm: float, elevation_mm: float) -> Spectrum:
    """Spectrum of a field with Gaussian correlation ``exp(-(x / length)^2 / 2)`` of the given lengths."""

    def spectrum(kz: Array, kx: Array, ky: Array) -> Array:
        return np.exp(-0.25 * ((kz * depth_mm) ** 2 + (kx * lateral_mm) ** 2 + (ky * elevation_mm) ** 2))

    return spectrum


def wave(rng: np.random.Generator, lateral: Array, elevation: Array, length_mm: float) -> Array:
    """(ni, nk) gently rolling surface of SD 1: four plane waves, slower by half along the elevation axis."""
    surface = np.zeros((len(lateral), len(elevation)), np.float32)
    for _ in range(4):
        kx, ky = rng.normal(0, (2 * np.pi / length_mm, np.pi / length_mm))
        phase = rng.uniform(0, 2 * np.pi)
        surface += np.sin(kx * lateral[:, None] + ky * elevation[None, :] + phase).astype(np.float32)
    return surface / np.float32(np.sqrt(2))


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


def annotate(parameters: Parameters, grid: Grid, roi_size: Index) -> Annotation:
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
