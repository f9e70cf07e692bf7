"""One volume: parameters and a seed in, voxels and annotation out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from mflib.phantom import anatomy, scanner
from mflib.phantom.anatomy import Parameters
from mflib.phantom.fields import Grid
from mflib.phantom.tissue import Tissue
from mflib.volume import Annotation, Index, Volume

VERSION = "1.0"


class PhantomError(ValueError):
    """A request that the phantom cannot fulfil, or a folder that it cannot be written into."""


@dataclass(frozen=True)
class Profile:
    """Size of a volume and of its region of interest, in voxels (lateral, depth, elevation)."""

    shape: Index
    roi: Index

    def grid(self, parameters: Parameters) -> Grid:
        """Where the signal of a volume is sampled; its voxels are cubes."""
        return Grid(self.shape, parameters.depth_mm / self.shape[1])


PROFILES = {
    "quick": Profile((128, 128, 48), (90, 90, 35)),
    "paper": Profile((256, 256, 96), (180, 180, 70)),
}


def find_profile(name: str) -> Profile:
    """The profile of that name.

    Raises
    ------
    PhantomError
        There is none.
    """
    if name not in PROFILES:
        raise PhantomError(f"phantom profile is {name!r}, expected one of {', '.join(PROFILES)}")
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
    PhantomError
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
        voxels = scanner.scan(
            Tissue(parameters, grid, rng),
            grid,
            scanner.Settings(),
            rng,
            attenuation=parameters.attenuation,
            gain_percent=parameters.gain_percent,
            widening=parameters.widening,
        )
    if parameters.side == "L":
        voxels = np.ascontiguousarray(voxels[::-1])
    return Volume(voxels, (grid.voxel_mm,) * 3, _sidecar(parameters, seed)), annotation


def _sidecar(parameters: Parameters, seed: int) -> dict[str, object]:
    settings = scanner.Settings()
    return {
        "Manufacturer": "mflib",
        "ManufacturersModelName": f"mflib phantom {VERSION}",
        "ProbeModel": "simulated matrix probe",
        "ProbeCentralFrequency": settings.frequency_mhz,
        "DepthMM": parameters.depth_mm,
        "GainPercent": parameters.gain_percent,
        "DynamicRangeDB": settings.dynamic_range_db,
        "BodyPart": "LSPINE",
        "Laterality": parameters.side,
        "AxisNames": ["lateral", "depth", "elevation"],
        "SourceFormat": "simulation",
        "SpacingSource": "simulation",
        "Synthetic": True,
        "Seed": seed,
        "PhantomSeverity": parameters.severity,
    }
