"""Where things lie in one volume: its parameters, the interfaces in it, its parts, and the operator's marks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mflib.base.errors import InputError
from mflib.data.phantom.scanner import COMPENSATION, FREQUENCY_MHZ, Array, Grid, wave
from mflib.data.preprocess import ROI_MARGIN_MM, ROI_MM, roi_columns
from mflib.data.volume import Annotation, Index

CLEFT_SLOPE = 0.25  # how far the cleft moves outwards with each mm below the fascia, our estimate
CLEFT_MET_MM = 5.0  # below the fascia, where the operator's region meets the cleft
SPINOUS_BELOW_FASCIA_MM = 2.2
SHADOW_BELOW_BONE_MM = 10.0
# Height of a spinous process in mm, mean and SD (Sobottke 2010, Surg Radiol Anat 32:731).
SPINOUS_HEIGHT_MM = (16.6, 3.6)
LAYER_DB_PER_CM = 4.0  # lost by each cm of subcutaneous fat beyond 0.7, to aberration and attenuation
Indices = NDArray[np.integer]
PARTS = ("fascia and above", "spinous process and beyond", "multifidus", "erector spinae", "lamina and below")


@dataclass(frozen=True)
class Parameters:
    """What sets one volume apart from another.

    Parameters
    ----------
    fat : share of the multifidus that is fat, 0 to 0.8
    fibrosis : connective tissue in it, 0 (none) to 1
    side : "L" or "R"
    depth_mm : depth of the picture, 40 to 70
    subcutis_mm, thickness_mm : subcutaneous fat; muscle from fascia to lamina
    cleft_mm : midline to the cleft that parts the multifidus from the erector spinae, at the fascia
    spinous_mm : distance of the spinous process from the medial edge of the picture
    echo_db, lamellae_db, bone_db : brightness of lean muscle, lamellae and bone, relative to the typical patient
    haze_db : clutter in the shadows
    contact_db : loss where the probe lifts off the skin
    attenuation : dB/cm/MHz
    spacing_mm, lamella_mm : distance of the lamellae, and half their thickness
    obliquity_deg, dip_deg : fascicles against the spine, seen from behind; and into the depth
    tilt_deg : of the probe, along the spine
    gain_percent : the gain knob
    widening : factor of the beam width behind the subcutaneous fat

    Raises
    ------
    ValueError
        A parameter is outside what the anatomy can hold.
    """

    fat: float
    fibrosis: float = 0.3
    side: str = "R"
    depth_mm: float = 51.2
    subcutis_mm: float = 7.0
    thickness_mm: float = 28.0
    cleft_mm: float = 28.4
    spinous_mm: float = 5.0
    echo_db: float = 0.0
    lamellae_db: float = 0.0
    bone_db: float = 0.0
    haze_db: float = -50.0
    contact_db: float = 0.0
    attenuation: float = 0.77
    spacing_mm: float = 1.1
    lamella_mm: float = 0.045
    obliquity_deg: float = 15.0
    dip_deg: float = 6.0
    tilt_deg: float = 0.0
    gain_percent: float = 50.0
    widening: float = 1.0

    def __post_init__(self) -> None:
        if self.side not in ("L", "R"):
            raise ValueError(f"side is {self.side!r}, expected 'L' or 'R'")
        ranges = {
            "fat": (0, 0.8), "fibrosis": (0, 1), "depth_mm": (40, 70), "subcutis_mm": (2, 15), "spacing_mm": (0.7, 2)
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, expected {low} to {high}")
        if self.subcutis_mm + self.thickness_mm > 0.95 * self.depth_mm:
            raise ValueError(f"the lamina at {self.subcutis_mm + self.thickness_mm:.1f} mm lies below the picture")


@dataclass(frozen=True)
class VolumeSize:
    """Size of a volume in voxels (lateral, depth, elevation), and of its region where that is the paper's box.

    Parameters
    ----------
    shape : of the volume
    box : of the region of interest; None for one that is fitted to the muscle
    """

    shape: Index
    box: Index | None

    def grid(self, parameters: Parameters) -> Grid:
        """Where the signal of a volume is sampled; its voxels are cubes."""
        return Grid(self.shape, parameters.depth_mm / self.shape[1])


PROFILES = {"quick": VolumeSize((128, 128, 48), None), "paper": VolumeSize((256, 256, 96), (180, 180, 70))}


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


class Surfaces:
    """Interfaces in mm at each (lateral, elevation) sample, (ni, nk) each; depths where nothing else is said.

    Parameters
    ----------
    parameters, grid : of the volume
    rng : source of everything random in them

    Attributes
    ----------
    skin, subcutaneous, fascia : from the top; ``subcutaneous`` and ``fascia`` are pairs
    spinous : crest of the spinous process
    spinous_inside : 1 where the process lies, 0 beside it and between it and the next
    spinous_edge_mm, spinous_middle_mm : lateral position of its side, and elevation of its middle
    lamina : lamina and facet joint, and the floor of the muscle between two laminae
    lamina_bone : 1 on a lamina, 0 between two
    lamina_echo : directivity of the lamina, by its slope
    cleft : (nk,) lateral position of the cleft at the fascia
    cleft_top_mm, cleft_phase : depth of its upper end; phase of its waves in depth
    """

    def __init__(self, parameters: Parameters, grid: Grid, rng: np.random.Generator) -> None:
        x, y = grid.lateral, grid.elevation
        flat = np.zeros((len(x), len(y)), np.float32)
        fat = parameters.subcutis_mm
        sheet = wave(rng, x, y, 45) * np.float32(0.25)
        off_axis = x[:, None] - np.float32(parameters.spinous_mm) + flat
        half = rng.uniform(2.8, 4.0)
        middle = y[-1] * rng.uniform(0.3, 0.7)
        along = y[None, :] - np.float32(middle)
        height = np.clip(rng.normal(*SPINOUS_HEIGHT_MM), 10, 24)
        self.lamina = _lamina(parameters, grid, rng)
        slope = np.hypot(*np.gradient(self.lamina, grid.voxel_mm))
        self.skin: Array = flat + 0.7 + 0.1 * wave(rng, x, y, 30)
        self.subcutaneous: tuple[Array, Array] = (
            flat + fat * (rng.uniform(0.25, 0.45) + 0.07 * wave(rng, x, y, 28)),
            flat + fat * (rng.uniform(0.55, 0.75) + 0.06 * wave(rng, x, y, 40)),
        )
        self.fascia: tuple[Array, Array] = (fat + sheet - 0.2, fat + sheet + 0.9 + 0.12 * wave(rng, x, y, 25))
        top = np.float32(fat + SPINOUS_BELOW_FASCIA_MM)
        self.spinous: Array = top + np.float32(0.14) * off_axis**2 + 0.02 * along**2
        self.spinous_inside = _inside(np.abs(off_axis) - half, 0.4) * _inside(np.abs(along) - height / 2, 0.7)
        self.spinous_edge_mm, self.spinous_middle_mm = float(parameters.spinous_mm + half), float(middle)
        self.lamina_bone = _lamina_bone(off_axis, grid, rng)
        self.lamina_echo: Array = np.exp(-((slope / 0.55) ** 2))
        waves = 0.6 * wave(rng, x[:1], y, 15)[0]
        self.cleft: Array = (parameters.spinous_mm + parameters.cleft_mm + waves).astype(np.float32)
        self.cleft_top_mm, self.cleft_phase = fat, rng.uniform(0, 2 * np.pi)

    def cleft_at(self, depth: Array) -> Array:
        """Lateral position in mm of the cleft (rows, 1, nk), at depths (rows, 1, 1) in mm."""
        below = depth - np.float32(self.cleft_top_mm)
        waves = np.sin(below / 6 + self.cleft_phase) - np.sin(self.cleft_phase)
        return np.asarray(self.cleft + CLEFT_SLOPE * below + 0.8 * waves, np.float32)


def _inside(outside_mm: NDArray[np.floating], softness_mm: float) -> Array:
    """1 where a distance is negative, 0 where it is positive, over a soft edge."""
    return np.asarray(0.5 - 0.5 * np.tanh(outside_mm / np.float32(softness_mm)), np.float32)


def _lamina(parameters: Parameters, grid: Grid, rng: np.random.Generator) -> Array:
    """Depth of the muscle's floor: a rolling lamina with the facet joint rising out of it, and lower bone beyond."""
    x, y = grid.lateral[:, None], grid.elevation[None, :]
    base = parameters.subcutis_mm + parameters.thickness_mm
    facet_x = parameters.spinous_mm + rng.uniform(11, 16) + 0.25 * parameters.cleft_mm
    facet_y = rng.uniform(0.2, 0.8) * grid.elevation[-1]
    facet = rng.uniform(2.5, 4.5) * np.exp(-(((x - facet_x) / 2.8) ** 2) - ((y - facet_y) / 9) ** 2)
    lower = rng.uniform(2, 6) * _inside(facet_x + 6 - x, 2.0)
    rolling = 0.55 * wave(rng, grid.lateral, grid.elevation, 22) + 0.25 * wave(rng, grid.lateral, grid.elevation, 9)
    return (base + rolling - facet + lower).astype(np.float32)


def _lamina_bone(off_axis: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """1 on the lamina, 0 in the interlaminar gap, of which the caudal end of the volume holds a part."""
    y = grid.elevation[None, :]
    edge = rng.uniform(0.05, 0.40) * y[0, -1] + 0.8 * wave(rng, grid.lateral, grid.elevation[:1], 12)
    half = rng.uniform(8.5, 15)  # the gap is 17 mm wide at L1 and 31 at L5
    return np.asarray(1 - _inside(y - edge, 0.4) * _inside(np.abs(off_axis) - half, 0.6), np.float32)


def loss_db(parameters: Parameters, grid: Grid, rng: np.random.Generator) -> Array:
    """(rows, ni) two-way loss beyond what the scanner compensates: by depth, the fat above, and poor contact."""
    x = grid.lateral
    along = 2 * (parameters.attenuation - COMPENSATION) * FREQUENCY_MHZ * grid.depth[:, None] / 10
    above = LAYER_DB_PER_CM * (parameters.subcutis_mm - 7) / 10
    centre, width = rng.uniform(0.3, 1.0) * x[-1], rng.uniform(2, 6)
    lifted = parameters.contact_db * np.exp(-(((x - centre) / width) ** 2))[None, :]
    return np.asarray(along + above + lifted, np.float32)


def parts(s: Surfaces, grid: Grid, depth: Array, i: Indices, k: Indices) -> dict[str, NDArray[np.bool_]]:
    """The part of the body at each place of a right side.

    Parameters
    ----------
    s, grid : the interfaces, and where they were sampled
    depth : (n,) in mm
    i, k : samples along lateral and elevation

    Returns
    -------
    dict of (n, len(i), len(k)) bool
        By the names in ``PARTS``; each place is in one.
    """
    z, x = depth[:, None, None], grid.lateral[i][None, :, None]
    at = np.ix_(i, k)
    above, below = z < s.fascia[1][at], z >= s.lamina[at]
    midline, lateral = x < s.spinous_edge_mm, x >= s.cleft_at(z)[..., k]
    between = ~above & ~below
    muscle = between & ~midline
    masks = (above, between & midline, muscle & ~lateral, muscle & lateral, below & ~above)
    return dict(zip(PARTS, masks, strict=True))


def annotate(parameters: Parameters, s: Surfaces, grid: Grid, box: Index | None) -> Annotation:
    """The operator's marks: spinous process, its shadow, and a region of interest on the multifidus beside it.

    Parameters
    ----------
    parameters, s, grid : of the volume
    box : voxels of a region of fixed size, which begins beside the process and below the fascia; None for one that is
        fitted to the muscle by the rule of ``annotation.suggestion.suggest_roi``, with edges that are known here

    Raises
    ------
    ValueError
        The box does not fit beside the spinous process and below the fascia.
    """
    v, (ni, nj, nk) = grid.voxel_mm, grid.shape
    bone = (int(parameters.spinous_mm / v), 0, int(s.spinous_middle_mm / v))
    bone = (bone[0], int(float(s.spinous[bone[0], bone[2]]) / v), bone[2])
    near = int(np.ceil((s.spinous_edge_mm + ROI_MARGIN_MM) / v)) - bone[0]
    # The cleft runs outwards, so a region may begin above its upper end's last millimetres.
    cleft = s.cleft_at(np.full((1, 1, 1), parameters.subcutis_mm + CLEFT_MET_MM, np.float32)).min()
    far = int((cleft - ROI_MARGIN_MM) / v) - bone[0]
    across, along = roi_columns(grid.shape, (v, v, v), bone, "R", (near, far, ni - bone[0]), ROI_MM)
    top = max(bone[1], int(np.ceil((s.fascia[1][across, along].max() + ROI_MARGIN_MM) / v)))
    bottom = min(int((s.lamina[across, along].min() - ROI_MARGIN_MM) / v), top + round(ROI_MM[1] / v))
    start, size = (across.start, top, along.start), (across.stop - across.start, bottom - top, along.stop - along.start)
    if box is not None:
        start, size = (start[0], start[1], (nk - box[2]) // 2), box
        if start[0] + size[0] > ni or start[1] + size[1] > nj:
            raise ValueError(f"ROI of {size} voxels from {start} does not fit in a volume of {grid.shape}")
    shadow = (bone[0], bone[1] + round(SHADOW_BELOW_BONE_MM / v), bone[2])
    marks = Annotation(bone, shadow, start, size)
    return marks if parameters.side == "R" else mirrored(marks, ni)


def mirrored(marks: Annotation, ni: int) -> Annotation:
    """The marks of a right side as those of a left one, and back."""

    def other(place: Index, wide: int = 1) -> Index:
        return ni - place[0] - wide, place[1], place[2]

    start, size = marks.roi_start, marks.roi_size
    return Annotation(other(marks.bone), other(marks.shadow), other(start, size[0]), size)
