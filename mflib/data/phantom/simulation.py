"""One volume: what scatters in it, and the scanner that makes grey levels of that.

Muscle lamellae, septa, fat, fascia and bone are one complex reflectivity. Each slab of it is blurred by the
depth-dependent point spread function, then attenuated, noised, detected and log-compressed. Slabs of few rows stay in
the processor's cache, which is what makes a volume cheap. Signals are float32 arrays (rows, ni, 2, nk), the third axis
holding real and imaginary parts, so that each blur is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mflib.base.errors import InputError
from mflib.data.phantom import anatomy
from mflib.data.phantom.anatomy import Array, Grid, Mesh, Parameters, Spectrum, Surfaces
from mflib.data.volume import Annotation, Index, Volume

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
# gain; the range of the log compression; what one per cent on the gain knob does, whose 50 % are 0 dB.
COMPENSATION = 0.70
NOISE_DB, NOISE_DB_PER_CM = -53.0, 3.0
DYNAMIC_RANGE_DB = 55.0
GAIN_DB_PER_PERCENT = 0.6
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


def scan(reflectivity: Reflectivity, grid: Grid, parameters: Parameters, rng: np.random.Generator) -> NDArray[np.uint8]:
    """B-mode volume (ni, nj, nk) of a reflectivity; ``rng`` is the source of the receiver noise."""
    gain_db = (parameters.gain_percent - 50) * GAIN_DB_PER_PERCENT
    depth_cm = grid.depth / 10
    residue_db = -2 * (parameters.attenuation - COMPENSATION) * FREQUENCY_MHZ * depth_cm
    noise_db = NOISE_DB + NOISE_DB_PER_CM * (depth_cm - FOCUS_MM / 10)
    grey = np.empty((grid.shape[1], grid.shape[0], grid.shape[2]), np.uint8)
    for first, signal in beamform(reflectivity, grid, parameters.widening):
        rows = slice(first, first + len(signal))
        noise = anatomy.normal(signal.shape, rng)
        noise *= amplitude(noise_db[rows] - 10 * np.log10(2))[:, None, None, None]
        noise += signal * amplitude(residue_db[rows])[:, None, None, None]
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


MESH_MM = (0.4, 0.8, 0.8)
SMOOTH_MESH_MM = (1.2, 1.5, 2.0)
GRANULE_MESH_MM = (0.3, 0.3, 0.3)
ASPECT = 2.1
SHADOW = 0.008
HAZE_DB = -50.0
ROUGHNESS = 2.2
REFERENCE_SAMPLE_MM3 = 0.2 * 0.2 * 0.1


# Thin reflectors: bright where the first is near 0, as bright as the second; both (depth nodes, ni, nk).
Sheets = tuple[Array, Array]


class Tissue:
    """The reflectivity of one volume, made slab by slab.

    Parameters
    ----------
    parameters : what sets this volume apart
    grid : where the signal is sampled
    rng : source of everything random in it
    """

    def __init__(self, parameters: Parameters, grid: Grid, rng: np.random.Generator) -> None:
        self.parameters, self.grid, self.rng = parameters, grid, rng
        self.mesh, self.granule_mesh = Mesh(grid, MESH_MM), Mesh(grid, GRANULE_MESH_MM)
        self.surfaces: Surfaces = anatomy.surfaces(parameters, grid, rng)
        self.fat = self._fat()
        self.continuity = self._continuity()
        self.diffuse_db = self.mesh.spread(-46.5 + 16 * self.fat + 1.9 * self._smooth(5, 5, 8))
        self.phase = self.mesh.spread(2.6 * self._smooth(2.5, 4, 8))
        self.lamellae, self.septa = self._lamellae(), self._septa()
        self.granules = self.granule_mesh.spread(anatomy.normal(self.granule_mesh.shape, rng))

    def __call__(self, first: int, last: int) -> Array:
        """Reflectivity (last - first, ni, 2, nk) of the rows from ``first`` to before ``last``."""
        rows = slice(first, last)
        depth = self.grid.depth[rows, None, None]
        muscle = _ramp(depth - self.surfaces.fascia[0], 0.4)
        sheets, near = self._muscle_sheets(rows)
        interfaces = sheets * muscle + self._septum(depth) * muscle + self._layers(depth)
        diffuse = self._diffuse(rows, muscle, near)
        through = self._transmission(depth)
        interfaces *= through * through  # what gets behind bone is haze: no picture of the tissue there
        bone = self._bone(depth)
        rough, specular = (
            interfaces * soft + bone * hard
            for soft, hard in zip(self._shares(0.55 - 0.30 * self.parameters.severity), self._shares(0.4), strict=True)
        )
        diffuse = np.sqrt((diffuse * through) ** 2 + amplitude(HAZE_DB) ** 2)
        return self._scatter(rows, diffuse + rough, specular)

    def _shares(self, coherence: float) -> tuple[np.float32, np.float32]:
        """Rough and specular share of an interface's echo.

        A smooth reflector grows with the volume of a sample and a rough one with its root, so the specular share is
        set for a reference sample and scaled.
        """
        volume = self.grid.voxel_mm**2 * self.grid.row_mm
        specular = coherence * np.sqrt(volume / REFERENCE_SAMPLE_MM3)
        return np.float32(ROUGHNESS * np.sqrt(1 - coherence**2)), np.float32(specular)

    def _scatter(self, rows: slice, diffuse: Array, specular: Array) -> Array:
        """Random phases for the diffuse part, smooth ones for the specular."""
        ni, _, nk = self.grid.shape
        field = anatomy.normal((len(diffuse), ni, 2, nk), self.rng)
        field *= (diffuse * np.float32(np.sqrt(0.5)))[:, :, None, :]
        phase = self._rows(self.mesh, self.phase, rows)
        field[:, :, 0] += specular * np.cos(phase)
        field[:, :, 1] += specular * np.sin(phase)
        return field

    def _rows(self, mesh: Mesh, field: Array, rows: slice) -> Array:
        """Rows of a field that is known at the depth nodes of ``mesh``."""
        weights = mesh.depth_weights[rows]
        used = np.flatnonzero(weights.any(axis=0))
        nodes = slice(used[0], used[-1] + 1)
        flat = field[nodes].reshape(nodes.stop - nodes.start, -1)
        return (weights[:, nodes] @ flat).reshape(len(weights), *field.shape[1:])

    def _smooth(self, depth_mm: float, lateral_mm: float, elevation_mm: float) -> Array:
        """A slow random field at the mesh's nodes."""
        coarse = Mesh(self.grid, SMOOTH_MESH_MM)
        return coarse.resample(
            anatomy.gaussian_field(coarse, anatomy.smooth(depth_mm, lateral_mm, elevation_mm), self.rng), self.mesh
        )

    def _fat(self) -> Array:
        """Local fat at the mesh's nodes: the severity, with lobules of a few millimetres."""
        f = self.parameters.severity
        lobules = self._smooth(2.2, 3, 4)
        return np.clip(f + 0.30 * np.sqrt(max(0.0, f * (1.15 - f))) * lobules, 0, 1.2).astype(np.float32)

    def _fibrous(self, spacing_mm: float, length_mm: float) -> Spectrum:
        """Spectrum of a field whose zero level is a stack of sheets, drawn out along the fascicles.

        The wave number along the fascicle is the elevation's, sheared by obliquity and dip.
        """
        oblique, dip = (np.tan(np.radians(a)) for a in (self.parameters.obliquity_deg, self.parameters.dip_deg))
        ring = np.pi / spacing_mm

        def spectrum(kz: Array, kx: Array, ky: Array) -> Array:
            across = np.sqrt(kz**2 + (ASPECT * kx) ** 2) / np.float32(ring)
            along = (ky + kx * np.float32(oblique) + kz * np.float32(dip)) * np.float32(length_mm)
            return np.exp(-0.5 * ((across - 1) / 0.35) ** 2 - 0.125 * along**2)

        return spectrum

    def _sheets(self, level: Array, echo_db: Array) -> Sheets:
        """Sheets at a level set, as bright as they are whole and face the transducer."""
        dz, dx, dy = np.gradient(level, *MESH_MM)
        # Squared cosine of the normal against the beam.
        directivity = np.asarray(dz**2 / (dz**2 + dx**2 + dy**2 + np.float32(1e-6)), np.float32)
        strength = directivity**2 * self.continuity * amplitude(echo_db)
        return self.mesh.spread(level), self.mesh.spread(strength)

    def _continuity(self) -> Array:
        """How whole the sheets are at the mesh's nodes: strong and weak stretches, and gaps that grow with the fat."""
        fine = anatomy.gaussian_field(self.mesh, anatomy.smooth(0.7, 1.6, 12), self.rng)
        broad = self._smooth(3, 4, 8)
        gate = 1 / (1 + np.exp(-(1.1 * fine + 0.35 * broad - 0.35 - 1.1 * self.fat) / 0.3))
        return np.asarray(np.exp(0.45 * fine + 0.40 * broad) * gate, np.float32)

    def _lamellae(self) -> Sheets:
        """Perimysial lamellae: oriented, specular, lost where the fat is."""
        f, p = self.parameters.severity, self.parameters
        level = anatomy.gaussian_field(self.mesh, self._fibrous(p.spacing_mm, 16 * (1 - 0.6 * f)), self.rng, 1.5)
        return self._sheets(level, -27 - 3 * self.fat)

    def _septa(self) -> Sheets:
        """Septa between the fascicles: fewer and thinner than the lamellae."""
        f = self.parameters.severity
        coarse = Mesh(self.grid, SMOOTH_MESH_MM)
        field = anatomy.gaussian_field(coarse, self._fibrous(4.6, 16 * (1 - 0.4 * f)), self.rng, 1.5)
        return self._sheets(coarse.resample(field, self.mesh), -22 - 5 * self.fat)

    def _muscle_sheets(self, rows: slice) -> tuple[Array, Array]:
        """Lamellae and septa of some rows, and how far each sample is from a lamella."""
        f = self.parameters.severity
        level, strength = (self._rows(self.mesh, field, rows) for field in self.lamellae)
        septum, septum_strength = (self._rows(self.mesh, field, rows) for field in self.septa)
        echo = _bell(level, 0.16 + 0.14 * f) * strength
        echo += _bell(septum, 0.07 + 0.05 * f) * septum_strength
        return np.maximum(echo, 0), np.abs(level)

    def _diffuse(self, rows: slice, muscle: Array, near: Array) -> Array:
        """Amplitude of the diffuse scatterers: muscle with its fat, or subcutaneous fat above the fascia."""
        f, p = self.parameters.severity, self.parameters
        granularity = 0.12 + 0.16 * f
        nepers = self._rows(self.mesh, self.diffuse_db, rows)
        nepers += np.float32(p.echo_db)
        nepers *= np.float32(np.log(10) / 20)
        nepers += np.float32(0.20) - np.float32(0.30 * (1 - 0.7 * f)) * near
        subcutaneous = np.float32((-36 + 0.5 * p.echo_db) * np.log(10) / 20)
        nepers = subcutaneous + (nepers - subcutaneous) * muscle
        nepers += np.float32(granularity) * self._rows(self.granule_mesh, self.granules, rows)
        nepers -= np.float32(granularity**2 / 2)
        return np.exp(nepers, out=nepers)

    def _septum(self, depth: Array) -> Array:
        """The lateral intermuscular septum, a wavy wall from fascia to lamina."""
        f, p = self.parameters.severity, self.parameters
        below = depth - p.subcutis_mm
        middle = (
            p.spinous_mm
            + 0.58 * p.depth_mm
            + 0.2 * below
            + 1.2 * np.sin(below / 6 + self.surfaces.septum_phase)
            + self.surfaces.septum_bend
        )
        distance = np.asarray(self.grid.lateral[None, :, None] - middle, np.float32)
        return _bell(distance, 0.3) * amplitude(-24 - 7 * f)

    def _layers(self, depth: Array) -> Array:
        """Skin, subcutaneous septa and the two leaves of the deep fascia."""
        s, f = self.surfaces, self.parameters.severity
        echo = _sheet(depth, s.skin, 0.25) * amplitude(-19)
        for septum in s.subcutaneous:
            echo = echo + _sheet(depth, septum, 0.15) * amplitude(-27)
        for leaf in s.fascia:
            echo = echo + _sheet(depth, leaf, 0.2) * amplitude(-16 - 4 * f)
        return np.asarray(echo, np.float32)

    def _transmission(self, depth: Array) -> Array:
        """What is left of the beam behind bone."""
        s = self.surfaces
        behind_spinous = _ramp(depth - s.spinous - 0.5, 0.8) * s.spinous_inside
        behind_lamina = _ramp(depth - s.lamina - 0.3, 0.6)
        lost = np.float32(1 - SHADOW)
        return (1 - lost * behind_spinous) * (1 - lost * behind_lamina)

    def _bone(self, depth: Array) -> Array:
        """Echo of the spinous process and of the lamina, the latter where the former does not shade it."""
        s, p = self.surfaces, self.parameters
        spinous = _sheet(depth, s.spinous + 0.2, 0.55) * s.spinous_inside * amplitude(-14 + p.bone_db)
        lamina = _sheet(depth, s.lamina, 0.4) * s.lamina_echo * amplitude(-20 + p.bone_db)
        return np.asarray(spinous + lamina * (1 - np.float32(1 - SHADOW) * s.spinous_inside), np.float32)


def _bell(distance: Array, width: float) -> Array:
    """``exp(-(distance / width)^2)``, held above the numbers that float32 is slow with."""
    scaled = distance * np.float32(1 / width)
    np.square(scaled, out=scaled)
    np.negative(scaled, out=scaled)
    np.maximum(scaled, np.float32(-40), out=scaled)
    return np.exp(scaled, out=scaled)


def _sheet(depth: Array, surface: Array, width: float) -> Array:
    """Bell across a surface, or a plain 0 where these rows do not reach it."""
    if depth[0, 0, 0] > surface.max() + 3 * width or depth[-1, 0, 0] < surface.min() - 3 * width:
        return np.zeros((1, 1, 1), np.float32)
    return _bell(depth - surface, width)


def _ramp(depth: Array, width: float) -> Array:
    """0 above a surface, 1 once ``width`` below it; a constant where these rows do not reach it."""
    if depth.min() >= width:
        return np.ones((1, 1, 1), np.float32)
    if depth.max() <= 0:
        return np.zeros((1, 1, 1), np.float32)
    return np.clip(depth / np.float32(width), 0, 1)


VERSION = "1.0"


@dataclass(frozen=True)
class VolumeSize:
    """Size of a volume and of its region of interest, in voxels (lateral, depth, elevation)."""

    shape: Index
    roi: Index

    def grid(self, parameters: Parameters) -> Grid:
        """Where the signal of a volume is sampled; its voxels are cubes."""
        return Grid(self.shape, parameters.depth_mm / self.shape[1])


PROFILES = {
    "quick": VolumeSize((128, 128, 48), (90, 90, 35)),
    "paper": VolumeSize((256, 256, 96), (180, 180, 70)),
}


def find_profile(name: str) -> VolumeSize:
    """The profile of that name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in PROFILES:
        raise InputError(f"phantom profile is {name!r}, expected one of {', '.join(PROFILES)}")
    return PROFILES[name]


def simulate(parameters: Parameters, seed: int, profile: str = "quick") -> tuple[Volume, Annotation]:
    """Simulate one volume.

    Parameters
    ----------
    parameters : what sets this volume apart
    seed : the same seed gives the same volume within one grey level
    profile : "quick" (128 x 128 x 48 voxels) or "paper" (256 x 256 x 96)

    Returns
    -------
    (Volume, Annotation)
        Grey levels with their sidecar; reference points and region of interest.

    Raises
    ------
    InputError
        Unknown profile.
    ValueError
        The region of interest does not fit.
    """
    chosen = find_profile(profile)
    grid = chosen.grid(parameters)
    annotation = anatomy.annotate(parameters, grid, chosen.roi)
    rng = np.random.Generator(np.random.SFC64(seed))
    # Threads only add waiting to products this small, and their order of summation would show in the last bit.
    with threadpool_limits(limits=1):
        voxels = scan(Tissue(parameters, grid, rng), grid, parameters, rng)
    if parameters.side == "L":
        voxels = np.ascontiguousarray(voxels[::-1])
    sidecar = {
        "Manufacturer": "mflib",
        "ManufacturersModelName": f"mflib phantom {VERSION}",
        "ProbeModel": "simulated matrix probe",
        "ProbeCentralFrequency": FREQUENCY_MHZ,
        "DepthMM": parameters.depth_mm,
        "GainPercent": parameters.gain_percent,
        "DynamicRangeDB": DYNAMIC_RANGE_DB,
        "BodyPart": "LSPINE",
        "Laterality": parameters.side,
        "AxisNames": ["lateral", "depth", "elevation"],
        "SourceFormat": "simulation",
        "SpacingSource": "simulation",
        "Synthetic": True,
        "Seed": seed,
        "PhantomSeverity": parameters.severity,
    }
    return Volume(voxels, (grid.voxel_mm,) * 3, sidecar), annotation
