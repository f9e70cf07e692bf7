"""The scanner: the grid on which it samples, random fields on that grid, and how echoes become grey levels.

Fields are Gaussian, drawn on coarse nodes and interpolated onto the scanner's grid: depth x lateral x elevation. Each
slab of a complex reflectivity is blurred by the depth-dependent point spread function, then attenuated, noised,
detected and log-compressed. Slabs of few rows stay in the processor's cache, which is what makes a volume cheap.
Signals are float32 arrays (rows, ni, 2, nk), the third axis holding real and imaginary parts, so that each blur is one
matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
    def weights(self) -> list[Array]:
        """(samples, nodes) Catmull-Rom weights from the nodes to the grid's samples along each axis."""
        positions = (self.grid.depth, self.grid.lateral, self.grid.elevation)
        return [catmull_rom(at / d + 1, n) for at, d, n in zip(positions, self.step_mm, self.shape, strict=True)]

    def spread(self, field: Array) -> Array:
        """Nodes (depth, lateral, elevation) to (depth nodes, ni, nk): interpolated in all but depth."""
        return np.matmul(self.weights[1], field) @ self.weights[2].T

    def rows(self, field: Array, rows: slice) -> Array:
        """Rows (n, ni, nk) of a field that was spread."""
        weights = self.weights[0][rows]
        used = np.flatnonzero(weights.any(axis=0))
        nodes = slice(used[0], used[-1] + 1)
        flat = field[nodes].reshape(nodes.stop - nodes.start, -1)
        return (weights[:, nodes] @ flat).reshape(len(weights), *field.shape[1:])

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
    return lambda kz, kx, ky: np.exp(-0.25 * ((kz * depth_mm) ** 2 + (kx * lateral_mm) ** 2 + (ky * elevation_mm) ** 2))


def wave(rng: np.random.Generator, lateral: Array, elevation: Array, length_mm: float) -> Array:
    """(ni, nk) gently rolling surface of SD 1: four plane waves, slower by half along the elevation axis."""
    kx, ky = rng.normal(0, (2 * np.pi / length_mm, np.pi / length_mm), (4, 2)).T
    x = np.outer(lateral, kx) + rng.uniform(0, 2 * np.pi, 4)
    y = np.outer(ky, elevation)
    return ((np.sin(x) @ np.cos(y) + np.cos(x) @ np.sin(y)) / np.sqrt(2)).astype(np.float32)


Reflectivity = Callable[[int, int], Array]
SLAB = 32
SPEED_OF_SOUND = 1.54  # mm per microsecond
FWHM = 2 * np.sqrt(2 * np.log(2))


# Centre frequency and fractional -6 dB bandwidth; focal lengths over aperture; the depth where the beam is narrowest,
# and its relative growth from there to twice or none of that depth; a pedestal five times wider than the main lobe.
FREQUENCY_MHZ, BANDWIDTH = 6.8, 0.6
F_NUMBER_LATERAL, F_NUMBER_ELEVATION = 2.0, 3.0
FOCUS_MM, BROADENING = 25.0, 0.45
SIDELOBE = 0.035
# Attenuation in dB/cm/MHz that the time gain compensation undoes; receiver noise at the focus and its growth with that
# gain; the range of the log compression.
COMPENSATION = 0.70
NOISE_DB, NOISE_DB_PER_CM = -56.0, 3.0
DYNAMIC_RANGE_DB = 55.0
# Axial resolution: a Gaussian pulse of that bandwidth, sigma = c / (4 pi sigma_f).
AXIAL_FWHM_MM = float(FWHM * SPEED_OF_SOUND / (4 * np.pi * (BANDWIDTH * FREQUENCY_MHZ / FWHM)))


def beam_fwhm_mm(f_number: float, depth_mm: float, widening: float) -> float:
    """Beam width 0.886 lambda F#, broader away from the focus and behind an aberrating layer."""
    away = abs(depth_mm - FOCUS_MM) / FOCUS_MM
    return 0.886 * (SPEED_OF_SOUND / FREQUENCY_MHZ) * f_number * (1 + BROADENING * away) * widening


def blur(samples: int, step_mm: float, fwhm_mm: float) -> Array:
    """(samples, samples) blurring matrix: a Gaussian with a pedestal, each row of unit power."""
    position = np.arange(samples) * step_mm
    distance = (position[:, None] - position[None, :]) / (fwhm_mm / FWHM)
    kernel = np.exp(-0.5 * distance**2) + SIDELOBE * np.exp(-0.5 * (distance / 5) ** 2)
    kernel[kernel < 1e-6] = 0  # numbers too small for float32 would slow the matrix product tenfold
    return (kernel / np.sqrt((kernel**2).sum(axis=1, keepdims=True))).astype(np.float32)


def beamform(reflectivity: Reflectivity, grid: Grid, widening: float) -> Iterator[tuple[int, Array]]:
    """Blur the reflectivity slab by slab.

    Parameters
    ----------
    reflectivity : (first row, row behind the last) to the slab (rows, ni, 2, nk)
    grid : where the signal is sampled
    widening : factor of the beam width, from aberration in the subcutaneous fat

    Yields
    ------
    (first row, signal)
        Slabs in order, together ``grid.rows`` rows; the signal has the mean power of a white reflectivity.
    """
    reach = 2 * int(np.ceil(5 * AXIAL_FWHM_MM / FWHM / grid.row_mm))
    kernel = blur(2 * reach + SLAB, grid.row_mm, AXIAL_FWHM_MM)[reach : reach + SLAB]
    ni, _, nk = grid.shape
    rows = np.zeros((2 * reach + SLAB, ni, 2, nk), np.float32)
    for first in range(0, grid.rows + reach, SLAB):
        rows[: 2 * reach] = rows[SLAB:].copy()
        last = min(first + SLAB, grid.rows)
        rows[2 * reach :] = 0
        if first < last:
            fresh = rows[2 * reach : 2 * reach + last - first]
            fresh[:] = _blur_beam(reflectivity(first, last), grid, widening, (first + last) / 2 * grid.row_mm)
        signal = (kernel @ rows.reshape(len(rows), -1)).reshape(SLAB, ni, 2, nk)
        start, stop = max(0, reach - first), min(SLAB, grid.rows - first + reach)
        if start < stop:
            yield first - reach + start, signal[start:stop]


def _blur_beam(slab: Array, grid: Grid, widening: float, depth_mm: float) -> Array:
    """Lateral and elevation blur of one slab with the beam of its middle depth."""
    ni, _, nk = grid.shape
    across = blur(nk, grid.voxel_mm, beam_fwhm_mm(F_NUMBER_ELEVATION, depth_mm, widening))
    along = blur(ni, grid.voxel_mm, beam_fwhm_mm(F_NUMBER_LATERAL, depth_mm, widening))
    slab = (slab.reshape(-1, nk) @ across.T).reshape(-1, ni, 2 * nk)
    return np.matmul(along, slab).reshape(-1, ni, 2, nk)


def scan(
    reflectivity: Reflectivity, grid: Grid, loss_db: Array, rng: np.random.Generator, *, gain_db: float, widening: float
) -> NDArray[np.uint8]:
    """B-mode volume (ni, nj, nk) of a reflectivity.

    Parameters
    ----------
    reflectivity, grid, widening : as :func:`beamform` takes them
    loss_db : (rows, ni) what each sample has lost on its way, beyond what the time gain compensation undoes
    rng : source of the receiver noise
    gain_db : of the gain knob
    """
    noise_db = NOISE_DB + NOISE_DB_PER_CM * (grid.depth / 10 - FOCUS_MM / 10)
    grey = np.empty((grid.shape[1], grid.shape[0], grid.shape[2]), np.uint8)
    for first, signal in beamform(reflectivity, grid, widening):
        rows = slice(first, first + len(signal))
        noise = normal(signal.shape, rng)
        noise *= amplitude(noise_db[rows] - 10 * np.log10(2))[:, None, None, None]
        noise += signal * amplitude(-loss_db[rows])[:, :, None, None]
        power = detect(noise)
        grey[first // 2 : first // 2 + len(power)] = compress(power, gain_db)
    return np.ascontiguousarray(grey.transpose(1, 0, 2))


def detect(signal: Array) -> Array:
    """Power of the signal (2n, ni, 2, nk), averaged over the two samples of a voxel: (n, ni, nk)."""
    np.square(signal, out=signal)
    power = signal[0::2, :, 0] + signal[0::2, :, 1]
    power += signal[1::2, :, 0]
    power += signal[1::2, :, 1]
    power *= np.float32(0.5)
    return power


def compress(power: Array, gain_db: float) -> NDArray[np.uint8]:
    """Grey levels of a power: 0 dB is white, ``-DYNAMIC_RANGE_DB`` is black."""
    grey = np.log10(np.maximum(power, np.float32(1e-12)))
    grey *= np.float32(255 * 10 / DYNAMIC_RANGE_DB)
    grey += np.float32(255 * (1 + gain_db / DYNAMIC_RANGE_DB))
    return np.clip(np.rint(grey, out=grey), 0, 255).astype(np.uint8)


def amplitude(level_db: NDArray[np.floating] | float) -> Array:
    """Amplitude of a level in dB, float32."""
    return np.asarray(10 ** (np.asarray(level_db) / 20), np.float32)
