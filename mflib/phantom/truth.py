"""What lies where in a simulated volume: the truth that a saliency map can be held against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mflib.phantom.anatomy import Parameters, Surfaces, surfaces
from mflib.phantom.fields import Grid
from mflib.phantom.folder import DESCRIPTION, Plan, make_plan
from mflib.phantom.simulation import VERSION, PhantomError, find_profile
from mflib.volume import KEY


def tissues(root: Path, segment: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]] | None:
    """Where fascia, muscle and bone are in one volume of a phantom cohort, made again from the recorded seed.

    Parts are told apart by depth alone: the spinous process and what lies in its shadow count as muscle. The region of
    interest is beside both.

    Parameters
    ----------
    root : the cohort's folder
    segment : holds KEY; a row of the segments table

    Returns
    -------
    dict of (ni, nj, nk) bool, or None
        ``fascia and above`` (down to the lower face of the fascia), ``muscle``, ``lamina and below``; each voxel of the
        whole volume is in one of them. None where the folder is no phantom made by this version of mflib.

    Raises
    ------
    PhantomError
        The phantom has no such segment.
    """
    plan = _plan_of(root)
    if plan is None:
        return None
    parameters, seed = _drawn(plan, segment)
    grid = find_profile(plan.profile).grid(parameters)
    # Tissue draws the surfaces first, so a generator of the same seed gives the same ones without the rest.
    drawn = surfaces(parameters, grid, np.random.Generator(np.random.SFC64(seed)))
    masks = _masks(drawn, grid)
    return {name: mask[::-1] for name, mask in masks.items()} if parameters.side == "L" else masks


def _plan_of(root: Path) -> Plan | None:
    try:
        (made_by,) = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))["GeneratedBy"]
        made, wanted = (made_by["Name"], made_by["Version"]), made_by["Parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if made != ("mflib phantom", VERSION):
        return None
    return _plan(wanted["profile"], wanted["patients"], wanted["seed"])


# A plan of 46 patients takes a tenth of a second, and all volumes of a cohort ask for the same.
_plan = lru_cache(maxsize=4)(make_plan)


def _drawn(plan: Plan, segment: Mapping[str, Any]) -> tuple[Parameters, int]:
    """Parameters and seed of one segment."""
    key = tuple(str(segment[column]) for column in KEY)
    rows = zip(plan.segments[[*KEY, "seed"]].itertuples(index=False), plan.parameters, strict=True)
    for (*found, seed), parameters in rows:
        if tuple(found) == key:
            return parameters, int(seed)
    raise PhantomError(f"segment is {' '.join(key)}, expected one of the {len(plan.parameters)} that were simulated")


def _masks(drawn: Surfaces, grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Parts by the depth of the voxels' centres, laid out as for a right side."""
    depth = ((np.arange(grid.shape[1]) + 0.5) * grid.voxel_mm)[None, :, None]
    above = depth < drawn.fascia[1][:, None, :]
    below = ~above & (depth >= drawn.lamina[:, None, :])
    return {"fascia and above": above, "muscle": ~above & ~below, "lamina and below": below}
