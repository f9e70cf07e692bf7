"""Gaussian random fields on coarse grids, and their interpolation onto the scanner's grid.

All arrays here are ordered depth x lateral x elevation.
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
