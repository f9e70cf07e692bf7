"""The scanner: reflectivity in, grey levels out.

The convolution model: each slab of complex reflectivity is blurred by the depth-dependent point spread function, then
attenuated, noised, detected and log-compressed. Slabs of few rows stay in the processor's cache, which is what makes
a volume cheap. Signals are float32 arrays (rows, ni, 2, nk), the third axis holding real and imaginary parts, so that
each blur is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mflib.data.phantom.fields import Array, Grid, normal

Reflectivity = Callable[[int, int], Array]
SLAB = 32
SPEED_OF_SOUND = 1.54  # mm per microsecond
FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class ScannerSettings:
    """Transducer and receiver.

    Parameters
    ----------
    frequency_mhz, bandwidth : centre frequency and fractional -6 dB bandwidth
    f_number_lateral, f_number_elevation : focal length over aperture
    focus_mm : depth where the beam is narrowest
    broadening : relative growth of the beam from the focus to twice or none of its depth
    sidelobe : amplitude of a pedestal five times wider than the main lobe
    compensation : attenuation in dB/cm/MHz that the time gain compensation undoes
    noise_db, noise_db_per_cm : receiver noise at the focus, and its growth with the time gain
    dynamic_range_db : range of the log compression
    gain_db_per_percent : what one per cent on the gain knob does; 50 % is 0 dB
    """

    frequency_mhz: float = 6.8
    bandwidth: float = 0.6
    f_number_lateral: float = 2.0
    f_number_elevation: float = 3.0
    focus_mm: float = 25.0
    broadening: float = 0.45
    sidelobe: float = 0.035
    compensation: float = 0.70
    noise_db: float = -53.0
    noise_db_per_cm: float = 3.0
    dynamic_range_db: float = 55.0
    gain_db_per_percent: float = 0.6

    @property
    def wavelength_mm(self) -> float:
        """Wavelength at the centre frequency."""
        return SPEED_OF_SOUND / self.frequency_mhz

    @property
    def axial_fwhm_mm(self) -> float:
        """Axial resolution: a Gaussian pulse of the given bandwidth, sigma = c / (4 pi sigma_f)."""
        sigma_f = self.bandwidth * self.frequency_mhz / FWHM
        return float(FWHM * SPEED_OF_SOUND / (4 * np.pi * sigma_f))

    def beam_fwhm_mm(self, f_number: float, depth_mm: float, widening: float) -> float:
        """Beam width 0.886 lambda F#, broader away from the focus and behind an aberrating layer."""
        away = abs(depth_mm - self.focus_mm) / self.focus_mm
        return 0.886 * self.wavelength_mm * f_number * (1 + self.broadening * away) * widening


def blur(samples: int, step_mm: float, fwhm_mm: float, sidelobe: float) -> Array:
    """(samples, samples) blurring matrix: a Gaussian with a pedestal, each row of unit power."""
    position = np.arange(samples) * step_mm
    distance = (position[:, None] - position[None, :]) / (fwhm_mm / FWHM)
    kernel = np.exp(-0.5 * distance**2) + sidelobe * np.exp(-0.5 * (distance / 5) ** 2)
    kernel[kernel < 1e-6] = 0  # numbers too small for float32 would slow the matrix product tenfold
    return (kernel / np.sqrt((kernel**2).sum(axis=1, keepdims=True))).astype(np.float32)


def beamform(
    reflectivity: Reflectivity, grid: Grid, settings: ScannerSettings, widening: float
) -> Iterator[tuple[int, Array]]:
    """Blur the reflectivity slab by slab.

    Parameters
    ----------
    reflectivity : (first row, row behind the last) to the slab (rows, ni, 2, nk)
    grid : where the signal is sampled
    settings : the scanner
    widening : factor of the beam width, from aberration in the subcutaneous fat

    Yields
    ------
    (first row, signal)
        Slabs in order, together ``grid.rows`` rows; the signal has the mean power of a white reflectivity.
    """
    reach = 2 * int(np.ceil(5 * settings.axial_fwhm_mm / FWHM / grid.row_mm))
    kernel = blur(2 * reach + SLAB, grid.row_mm, settings.axial_fwhm_mm, settings.sidelobe)[reach : reach + SLAB]
    ni, _, nk = grid.shape
    rows = np.zeros((2 * reach + SLAB, ni, 2, nk), np.float32)
    for first in range(0, grid.rows + reach, SLAB):
        rows[: 2 * reach] = rows[SLAB:].copy()
        last = min(first + SLAB, grid.rows)
        rows[2 * reach :] = 0
        if first < last:
            fresh = rows[2 * reach : 2 * reach + last - first]
            fresh[:] = _blur_beam(reflectivity(first, last), grid, settings, widening, (first + last) / 2 * grid.row_mm)
        signal = (kernel @ rows.reshape(len(rows), -1)).reshape(SLAB, ni, 2, nk)
        start, stop = max(0, reach - first), min(SLAB, grid.rows - first + reach)
        if start < stop:
            yield first - reach + start, signal[start:stop]


def _blur_beam(slab: Array, grid: Grid, settings: ScannerSettings, widening: float, depth_mm: float) -> Array:
    """Lateral and elevation blur of one slab with the beam of its middle depth."""
    ni, _, nk = grid.shape
    lateral = settings.beam_fwhm_mm(settings.f_number_lateral, depth_mm, widening)
    elevation = settings.beam_fwhm_mm(settings.f_number_elevation, depth_mm, widening)
    across = blur(nk, grid.voxel_mm, elevation, settings.sidelobe)
    along = blur(ni, grid.voxel_mm, lateral, settings.sidelobe)
    slab = (slab.reshape(-1, nk) @ across.T).reshape(-1, ni, 2 * nk)
    return np.matmul(along, slab).reshape(-1, ni, 2, nk)


def scan(
    reflectivity: Reflectivity,
    grid: Grid,
    settings: ScannerSettings,
    rng: np.random.Generator,
    *,
    attenuation: float,
    gain_percent: float,
    widening: float,
) -> NDArray[np.uint8]:
    """B-mode volume of a reflectivity.

    Parameters
    ----------
    reflectivity, grid, settings, widening : see :func:`beamform`
    rng : source of the receiver noise
    attenuation : of the tissue, in dB/cm/MHz
    gain_percent : the gain knob

    Returns
    -------
    (ni, nj, nk) uint8
    """
    gain_db = (gain_percent - 50) * settings.gain_db_per_percent
    depth_cm = grid.depth / 10
    residue_db = -2 * (attenuation - settings.compensation) * settings.frequency_mhz * depth_cm
    noise_db = settings.noise_db + settings.noise_db_per_cm * (depth_cm - settings.focus_mm / 10)
    grey = np.empty((grid.shape[1], grid.shape[0], grid.shape[2]), np.uint8)
    for first, signal in beamform(reflectivity, grid, settings, widening):
        rows = slice(first, first + len(signal))
        noise = normal(signal.shape, rng)
        noise *= amplitude(noise_db[rows] - 10 * np.log10(2))[:, None, None, None]
        noise += signal * amplitude(residue_db[rows])[:, None, None, None]
        power = detect(noise)
        grey[first // 2 : first // 2 + len(power)] = compress(power, gain_db, settings.dynamic_range_db)
    return np.ascontiguousarray(grey.transpose(1, 0, 2))


def detect(signal: Array) -> Array:
    """Power of the signal (2n, ni, 2, nk), averaged over the two samples of a voxel: (n, ni, nk)."""
    np.square(signal, out=signal)
    power = signal[0::2, :, 0] + signal[0::2, :, 1]
    power += signal[1::2, :, 0]
    power += signal[1::2, :, 1]
    power *= np.float32(0.5)
    return power


def compress(power: Array, gain_db: float, dynamic_range_db: float) -> NDArray[np.uint8]:
    """Grey levels of a power: 0 dB is white, ``-dynamic_range_db`` is black."""
    grey = np.log10(np.maximum(power, np.float32(1e-12)))
    grey *= np.float32(255 * 10 / dynamic_range_db)
    grey += np.float32(255 * (1 + gain_db / dynamic_range_db))
    return np.clip(np.rint(grey, out=grey), 0, 255).astype(np.uint8)


def amplitude(level_db: NDArray[np.floating] | float) -> Array:
    """Amplitude of a level in dB, float32."""
    return np.asarray(10 ** (np.asarray(level_db) / 20), np.float32)
