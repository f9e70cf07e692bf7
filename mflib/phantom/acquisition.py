"""How each volume comes out: habitus, anatomy, echo and scanner settings, drawn per patient and per volume."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.phantom.anatomy import Parameters
from mflib.volume import SIDES

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
