"""One volume: what scatters in it, from the fat map outwards.

Where the fat lies is drawn first, with exactly the share that is asked for; lamellae, septa and the diffuse echo follow
from the fat, fibrosis and fascicles of each place, and become one complex reflectivity with fascia and bone. Anything
that is a property of a place is made on coarse nodes, and only what is finer than those is made sample by sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from threadpoolctl import threadpool_limits

from mflib.data.phantom import anatomy, scanner
from mflib.data.phantom.anatomy import Parameters, Surfaces, find_profile
from mflib.data.phantom.scanner import Array, Grid, Mesh, Spectrum, amplitude, gaussian_field, normal, smooth
from mflib.data.volume import Annotation, Volume

VERSION = "2.0"
MESH_MM = (0.4, 0.8, 0.8)
COARSE_MESH_MM = (1.2, 1.5, 2.0)
GRANULE_MESH_MM = (0.3, 0.5, 0.5)
ASPECT = 2.1
SHADOW = 0.008
ROUGHNESS = 2.2
REFERENCE_SAMPLE_MM3 = 0.2 * 0.2 * 0.1
GAIN_DB_PER_PERCENT = 0.6  # of the gain knob, whose 50 % are 0 dB
# Diffuse echo of lean muscle, and what fat, fibrosis and the erector spinae add; fatty minus lean is 6 to 10 dB.
LEAN_DB, FAT_DB, FIBROSIS_DB, ERECTOR_DB = -44.0, 12.5, 7.0, 1.5
LOBULE_DB = 2.0  # unevenness of fat from lobule to lobule
# Fat per mm of depth and of width that the map favours, in SD of its patches; how sharp its patches are.
DEEP, MEDIAL, SOFTNESS = 1.6, 0.9, 0.3
SPECULAR_DEG = 14.0  # a fascicle this steep against the probe, along the spine, has lost 1/e of its echo's amplitude

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
        self.mesh, self.coarse = Mesh(grid, MESH_MM), Mesh(grid, COARSE_MESH_MM)
        self.granule_mesh = Mesh(grid, GRANULE_MESH_MM)
        self.surfaces = Surfaces(parameters, grid, rng)
        self.parts = self._parts()
        self.lobules = gaussian_field(self.mesh, self._along(0.8, 1.1, 3), rng, 1.5)
        self.fat = self._fat()
        self.fibrosis = np.float32(parameters.fibrosis) * expit(2.5 * self._smooth(2.5, 3, 8))
        self.continuity = self._continuity()
        level = self._level()
        # Perimysial lamellae: oriented and specular.
        self.lamellae = self._sheets(level, _facing(level, MESH_MM), -28.5 - 3 * self.fat)
        self.septa = self._septa()
        self.diffuse_db = self.mesh.spread(self._diffuse_db(level))
        self.phase = self.mesh.spread(2.6 * self._smooth(2.5, 4, 8))
        self.granules = self.granule_mesh.spread(self._granules())

    def __call__(self, first: int, last: int) -> Array:
        """Reflectivity (last - first, ni, 2, nk) of the rows from ``first`` to before ``last``."""
        rows = slice(first, last)
        depth = self.grid.depth[rows, None, None]
        muscle = _ramp(depth - self.surfaces.fascia[0], 0.4)
        sheets = self._muscle_sheets(rows)
        self._add_cleft(sheets, depth)
        interfaces = sheets * muscle + self._layers(depth)
        diffuse = self._diffuse(rows, muscle)
        through = self._transmission(depth)
        interfaces *= through * through  # what gets behind bone is haze: no picture of the tissue there
        bone = self._bone(depth)
        shares = zip(self._shares(0.5), self._shares(0.4), strict=True)
        rough, specular = (interfaces * soft + bone * hard for soft, hard in shares)
        diffuse = np.sqrt((diffuse * through) ** 2 + amplitude(self.parameters.haze_db) ** 2)
        return self._scatter(rows, diffuse + rough, specular)

    def _parts(self) -> dict[str, NDArray[np.bool_]]:
        """The part of the body at each node of the mesh."""
        places = [(np.arange(n) - 1) * step for n, step in zip(self.mesh.shape, MESH_MM, strict=True)]
        v, (ni, _, nk) = self.grid.voxel_mm, self.grid.shape
        i, k = (np.clip((at / v).astype(int), 0, n - 1) for at, n in ((places[1], ni), (places[2], nk)))
        return anatomy.parts(self.surfaces, self.grid, places[0].astype(np.float32), i, k)

    def _fat(self) -> Array:
        """Local share of fat at the mesh's nodes, 0 to 1, whose mean over the multifidus is the segment's.

        Patches along the fascicles, deep and medial first: a threshold through one pattern, which falls as fat grows.
        """
        p, s = self.parameters, self.surfaces
        depth, lateral = ((np.arange(n) - 1) * step for n, step in zip(self.mesh.shape[:2], MESH_MM[:2], strict=True))
        deep = (depth - p.subcutis_mm) / p.thickness_mm - 0.5
        medial = 0.5 - (lateral - s.spinous_edge_mm) / p.cleft_mm
        where = DEEP * self.rng.uniform(0.5, 1.5) * deep[:, None] + MEDIAL * self.rng.uniform(0.5, 1.5) * medial
        patches = self._on_mesh(self._along(2.2, 3.0, 9), 1.5)
        pattern = (where[..., None] + 0.8 * patches + 0.6 * self.lobules).astype(np.float32) / np.float32(SOFTNESS)
        if p.fat == 0:
            return np.zeros_like(pattern)
        inside = pattern[self.parts["multifidus"]][::3]
        threshold = brentq(lambda t: float(expit(inside - np.float32(t)).mean()) - p.fat, -40, 40, xtol=5e-3)
        fat = expit(pattern - np.float32(threshold))
        return np.where(self.parts["multifidus"], fat, np.float32(0.5) * fat)

    def _diffuse_db(self, level: Array) -> Array:
        """Strength of the diffuse scatterers at the mesh's nodes; lean muscle is darker away from its lamellae."""
        strength = LEAN_DB + self.parameters.echo_db * (1 - self.fat) + 1.5 * self._smooth(5, 5, 8)
        strength += (FAT_DB + LOBULE_DB * self.lobules) * self.fat + FIBROSIS_DB * self.fibrosis
        strength -= 2.6 * (1 - self.fat) * np.abs(level)
        return np.asarray(strength + ERECTOR_DB * self.parts["erector spinae"], np.float32)

    def _granules(self) -> Array:
        """Unevenness of the scatterers, in nepers at the nodes of its mesh: fat is more granular than lean muscle."""
        sizes = zip(self.granule_mesh.shape, self.mesh.shape, GRANULE_MESH_MM, MESH_MM, strict=True)
        nearest = [np.clip(np.rint((np.arange(n) - 1) * a / b).astype(int) + 1, 0, m - 1) for n, m, a, b in sizes]
        granularity = np.float32(0.12) + np.float32(0.26) * self.fat
        return normal(self.granule_mesh.shape, self.rng) * granularity[np.ix_(*nearest)]

    def _continuity(self) -> Array:
        """How whole the sheets are at the mesh's nodes: strong and weak stretches, and gaps where the fat is."""
        fine = gaussian_field(self.mesh, smooth(0.7, 1.6, 12), self.rng)
        broad = self._smooth(3, 4, 8)
        usual = np.float32(-0.35 + 0.2 * self.parameters.lamellae_db)
        gate = expit((1.1 * fine + 0.35 * broad + usual - 1.8 * self.fat) / 0.3)
        return np.asarray(np.exp(0.45 * fine + 0.40 * broad) * gate, np.float32)

    def _along(self, depth_mm: float, lateral_mm: float, length_mm: float) -> Spectrum:
        """Spectrum of a smooth field that is drawn out along the fascicles."""
        across, length = smooth(depth_mm, lateral_mm, 0), np.float32(length_mm)
        return lambda *waves: across(*waves) * np.exp(-0.25 * (self._fascicle(*waves) * length) ** 2)

    def _fascicle(self, kz: Array, kx: Array, ky: Array) -> Array:
        """Wave number along the fascicle: the elevation's, sheared by its angles as the probe sees them."""
        p = self.parameters
        oblique, dip = (np.float32(np.tan(np.radians(a))) for a in (p.obliquity_deg, p.dip_deg + p.tilt_deg))
        return ky + kx * oblique + kz * dip

    def _fibrous(self, spacing_mm: float, length_mm: float, aspect: float = ASPECT) -> Spectrum:
        """Spectrum of a field whose zero level is a stack of sheets, drawn out along the fascicles."""
        ring = np.pi / spacing_mm

        def spectrum(kz: Array, kx: Array, ky: Array) -> Array:
            across = np.sqrt(kz**2 + (aspect * kx) ** 2) / np.float32(ring)
            along = self._fascicle(kz, kx, ky) * np.float32(length_mm)
            return np.exp(-0.5 * ((across - 1) / 0.35) ** 2 - 0.125 * along**2)

        return spectrum

    def _sheets(self, level: Array, facing: Array, echo_db: Array) -> Sheets:
        """Sheets at a level set, as bright as they are whole and face the transducer."""
        strength = facing * self.continuity * amplitude(echo_db + self.parameters.lamellae_db + 4 * self.fibrosis)
        return self.mesh.spread(level), self.mesh.spread(strength)

    def _level(self) -> Array:
        """A field whose zeros are the perimysial lamellae; those of the erector spinae are coarser and flatter."""
        spacing = self.parameters.spacing_mm
        level = gaussian_field(self.mesh, self._fibrous(spacing, 16), self.rng, 1.5)
        other = self._on_mesh(self._fibrous(1.9 * spacing, 24, 3.0), 1.5)
        return np.where(self.parts["erector spinae"], other, level)

    def _septa(self) -> Sheets:
        """Septa between the fascicles: fewer and thinner than the lamellae."""
        level = gaussian_field(self.coarse, self._fibrous(4.6, 16), self.rng, 1.5)
        facing = np.maximum(self.coarse.resample(_facing(level, COARSE_MESH_MM), self.mesh), 0)
        return self._sheets(self.coarse.resample(level, self.mesh), facing, -23 - 4 * self.fat)

    def _smooth(self, depth_mm: float, lateral_mm: float, elevation_mm: float) -> Array:
        """A slow random field at the mesh's nodes."""
        return self._on_mesh(smooth(depth_mm, lateral_mm, elevation_mm))

    def _on_mesh(self, spectrum: Spectrum, margin: float = 1.0) -> Array:
        """A random field at the mesh's nodes that is smooth enough to be drawn on the coarse ones."""
        return self.coarse.resample(gaussian_field(self.coarse, spectrum, self.rng, margin), self.mesh)

    def _muscle_sheets(self, rows: slice) -> Array:
        """Lamellae and septa of some rows."""
        level, strength = (self.mesh.rows(field, rows) for field in self.lamellae)
        septum, septum_strength = (self.mesh.rows(field, rows) for field in self.septa)
        # The level crosses 0 every spacing with a slope of sqrt(2) pi over it.
        p = self.parameters
        echo = _bell(level, np.sqrt(2) * np.pi * p.lamella_mm / p.spacing_mm) * strength
        echo += _bell(septum, 0.08) * septum_strength
        return np.maximum(echo, 0, out=echo)

    def _add_cleft(self, sheets: Array, depth: Array) -> None:
        """Add the wavy wall between multifidus and erector spinae, where it is."""
        middle = self.surfaces.cleft_at(depth)
        first, last = np.searchsorted(self.grid.lateral, (middle.min() - 1, middle.max() + 1))
        distance = self.grid.lateral[None, first:last, None] - middle
        strength = amplitude(-27) * (1 + 0.6 * np.sin(depth / 2.2 + self.surfaces.cleft_phase + 0.2 * middle))
        sheets[:, first:last] += _bell(distance, 0.3) * strength

    def _diffuse(self, rows: slice, muscle: Array) -> Array:
        """Amplitude of the diffuse scatterers: muscle with its fat, or subcutaneous fat above the fascia."""
        nepers = self.mesh.rows(self.diffuse_db, rows)
        nepers *= np.float32(np.log(10) / 20)
        subcutaneous = np.float32((-36 + 0.5 * self.parameters.echo_db) * np.log(10) / 20)
        nepers = subcutaneous + (nepers - subcutaneous) * muscle
        nepers += self.granule_mesh.rows(self.granules, rows)
        return np.exp(nepers, out=nepers)

    def _layers(self, depth: Array) -> Array:
        """Skin, subcutaneous septa and the two leaves of the deep fascia."""
        s = self.surfaces
        echo = _sheet(depth, s.skin, 0.25) * amplitude(-19)
        for septum in s.subcutaneous:
            echo = echo + _sheet(depth, septum, 0.15) * amplitude(-27)
        for leaf in s.fascia:
            echo = echo + _sheet(depth, leaf, 0.2) * amplitude(-17)
        return np.asarray(echo, np.float32)

    def _transmission(self, depth: Array) -> Array:
        """What is left of the beam behind bone, and in the canal behind an interlaminar gap."""
        s = self.surfaces
        lost = np.float32(1 - SHADOW)
        behind_spinous = _ramp(depth - s.spinous - 0.5, 0.8) * s.spinous_inside
        held_back = lost * s.lamina_bone + np.float32(0.8) * (1 - s.lamina_bone)
        behind_lamina = _ramp(depth - s.lamina - 0.3, 0.6) * held_back
        return (1 - lost * behind_spinous) * (1 - behind_lamina)

    def _bone(self, depth: Array) -> Array:
        """Echo of the process, and, where that does not shade them, of lamina and ligament between two laminae."""
        s, bone_db = self.surfaces, self.parameters.bone_db
        spinous = _sheet(depth, s.spinous + 0.2, 0.55) * s.spinous_inside * amplitude(-14 + bone_db)
        lamina = _sheet(depth, s.lamina, 0.4) * (s.lamina_echo * s.lamina_bone) * amplitude(-20 + bone_db)
        ligament = _sheet(depth, s.lamina + 1, 0.8) * (1 - s.lamina_bone) * amplitude(-32)
        shaded = 1 - np.float32(1 - SHADOW) * s.spinous_inside
        return np.asarray(spinous + (lamina + ligament) * shaded, np.float32)

    def _shares(self, coherence: float) -> tuple[np.float32, np.float32]:
        """Rough and specular share of an interface's echo.

        A smooth reflector grows with the volume of a sample and a rough one with its root, so the specular share is
        set for a reference sample and scaled.
        """
        volume = self.grid.voxel_mm**2 * self.grid.row_mm
        specular = coherence * np.sqrt(volume / REFERENCE_SAMPLE_MM3)
        return np.float32(ROUGHNESS * np.sqrt(1 - coherence**2)), np.float32(specular)

    def _scatter(self, rows: slice, diffuse: Array, specular: Array) -> Array:
        """Random phases for the diffuse part; smooth ones for the specular, which two rows share."""
        ni, _, nk = self.grid.shape
        field = normal((len(diffuse), ni, 2, nk), self.rng)
        field *= (diffuse * np.float32(np.sqrt(0.5)))[:, :, None, :]
        phase = self.mesh.rows(self.phase, slice(rows.start, rows.stop, 2))[:, None]
        pairs, specular = field.reshape(-1, 2, ni, 2, nk), specular.reshape(-1, 2, ni, nk)
        pairs[:, :, :, 0] += specular * np.cos(phase)
        pairs[:, :, :, 1] += specular * np.sin(phase)
        return field


def _facing(level: Array, step_mm: tuple[float, float, float]) -> Array:
    """Share of its echo that a sheet of a level set sends back to the transducer, by the direction of its normal."""
    dz, dx, dy = np.gradient(level, *step_mm)
    across = dz**2 + dx**2 + np.float32(1e-6)
    steep = dy**2 / across / np.float32(np.tan(np.radians(SPECULAR_DEG)) ** 2)
    return np.asarray((dz**2 / across) ** 2 * np.exp(-np.minimum(steep, 20)), np.float32)


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


def simulate(parameters: Parameters, seed: int, profile: str = "quick") -> tuple[Volume, Annotation]:
    """Simulate one volume.

    Parameters
    ----------
    parameters : what sets this volume apart
    seed : the same seed gives the same volume within one grey level
    profile : "quick" (128 x 128 x 48 voxels, region fitted to the muscle) or "paper" (256 x 256 x 96, the paper's box)

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
    rng = np.random.Generator(np.random.SFC64(seed))
    # Threads only add waiting to products this small, and their order of summation would show in the last bit.
    with threadpool_limits(limits=1):
        tissue = Tissue(parameters, grid, rng)
        annotation = anatomy.annotate(parameters, tissue.surfaces, grid, chosen.box)
        gain_db = (parameters.gain_percent - 50) * GAIN_DB_PER_PERCENT
        loss_db = anatomy.loss_db(parameters, grid, rng)
        voxels = scanner.scan(tissue, grid, loss_db, rng, gain_db=gain_db, widening=parameters.widening)
    if parameters.side == "L":
        voxels = np.ascontiguousarray(voxels[::-1])
    sidecar = {
        "Manufacturer": "mflib",
        "ManufacturersModelName": f"mflib phantom {VERSION}",
        "ProbeModel": "simulated matrix probe",
        "ProbeCentralFrequency": scanner.FREQUENCY_MHZ,
        "DepthMM": parameters.depth_mm,
        "GainPercent": parameters.gain_percent,
        "DynamicRangeDB": scanner.DYNAMIC_RANGE_DB,
        "BodyPart": "LSPINE",
        "Laterality": parameters.side,
        "AxisNames": ["lateral", "depth", "elevation"],
        "SourceFormat": "simulation",
        "SpacingSource": "simulation",
        "Synthetic": True,
        "Seed": seed,
    }
    return Volume(voxels, (grid.voxel_mm,) * 3, sidecar), annotation
