"""All 7020 GLCM features of one volume of 180 x 180 x 70, against a bare C loop and against what others offer.

    .venv/bin/python benchmarks/glcm.py

Run on an otherwise idle machine: all contestants take turns, and what counts are the ratios of one run. The C loop is
the floor: its histogram indices are made beforehand, untimed, and it computes no feature. MIRP is measured where it is
installed (``pip install -e .[bench]``), the C loop where there is a C compiler.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import multiprocessing
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycoprops

from mflib.data import phantom, preprocess
from mflib.models.texture import glcm

ROUNDS = 7
SLOW_ROUNDS = 2
# What MIRP is timed on: one of 15 steps at one of 6 level counts, all 13 directions.
MIRP_SHARE = len(glcm.STEPS) * len(glcm.LEVELS)

C_SOURCE = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void four_a_load(const uint16_t *indices, size_t n, uint32_t *counts) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t four;
        memcpy(&four, indices + i, 8);
        counts[four & 0xffff]++;
        counts[(four >> 16) & 0xffff]++;
        counts[(four >> 32) & 0xffff]++;
        counts[four >> 48]++;
    }
    for (; i < n; i++) counts[indices[i]]++;
}
"""

Voxels = NDArray[np.uint8]
OFFSETS = [tuple(step * c for c in direction) for step in glcm.STEPS for direction in glcm.DIRECTIONS]


def region() -> Voxels:
    """The gain-normalised region of interest of a simulated volume of the paper's size."""
    volume, annotation = phantom.simulate(phantom.Parameters(fat=0.4), 1, "paper")
    return preprocess.region(volume, annotation, preprocess.GainSettings()).voxels


def shifted(voxels: NDArray[Any], offset: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every voxel that has a partner at an offset, and these partners."""
    here = tuple(slice(max(0, -d), min(n, n - d)) for d, n in zip(offset, voxels.shape, strict=True))
    there = tuple(slice(max(0, d), min(n, n + d)) for d, n in zip(offset, voxels.shape, strict=True))
    return voxels[here], voxels[there]


def pairs(voxels: Voxels, offset: tuple[int, ...]) -> NDArray[np.uint16]:
    """Histogram index ``here * 256 + there`` of every pair of voxels at an offset."""
    here, there = shifted(voxels, offset)
    return ((here.astype(np.uint16) << 8) | there).ravel()


def compiled(folder: Path) -> Callable[[NDArray[np.uint16], NDArray[np.uint32]], None] | None:
    """The C loop, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    (folder / "floor.c").write_text(C_SOURCE)
    built = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", folder / "floor.so", folder / "floor.c"]
    subprocess.run(built, check=True)
    loop = ctypes.CDLL(str(folder / "floor.so")).four_a_load
    loop.argtypes, loop.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p], None
    return lambda indices, counts: loop(indices.ctypes.data, indices.size, counts.ctypes.data)


def floor_seconds(loop: Callable[[NDArray[np.uint16], NDArray[np.uint32]], None], voxels: Voxels) -> float:
    """Seconds that the C loop counts, over all offsets; making the indices does not count."""
    seconds = 0.0
    for offset in OFFSETS:
        indices, counts = pairs(voxels, offset), np.zeros(256 * 256, dtype=np.uint32)
        start = time.perf_counter()
        loop(indices, counts)
        seconds += time.perf_counter() - start
    return seconds


def numpy_and_scikit_image(voxels: Voxels) -> list[float]:
    """One bincount for each combination, and scikit-image's properties of it; the plain way in Python."""
    values = []
    for levels in glcm.LEVELS:
        coarse = voxels.astype(np.int64) * levels // 256
        for offset in OFFSETS:
            here, there = shifted(coarse, offset)
            counts = np.bincount((here * levels + there).ravel(), minlength=levels * levels).reshape(levels, levels)
            symmetric = (counts + counts.T)[:, :, None, None] / (2 * counts.sum())
            values += [graycoprops(symmetric, name).item() for name in glcm.PROPERTIES]
    return values


def mirp(voxels: Voxels) -> None:
    """One step at one level count in 13 directions, all that MIRP knows to compute of them."""
    from mirp import extract_features

    extract_features(
        image=voxels.astype(float),
        mask=np.ones(voxels.shape, dtype=int),
        base_feature_families="cm",
        base_discretisation_method="fixed_bin_number",
        base_discretisation_n_bins=8,
        glcm_distance=1.0,
        glcm_spatial_method="3d_average",
    )


def working_set_mib(voxels: Voxels) -> float | None:
    """How far the resident memory of a fresh process rises while it measures, in MiB; None off Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    glcm.features(voxels[:16, :16, :16])  # compiled beforehand
    Path("/proc/self/clear_refs").write_text("5")
    before = resident(status, "VmRSS:")
    glcm.features(voxels)
    return (resident(status, "VmHWM:") - before) / 1024


def resident(status: Path, name: str) -> int:
    """A line of the process's status in KiB."""
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))


def rounds(contestants: dict[str, Callable[[], float]], slow: set[str]) -> dict[str, list[float]]:
    """Times of each contestant, all of them taking turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for n in range(ROUNDS):
        for name, contestant in contestants.items():
            if name not in slow or n < SLOW_ROUNDS:
                times[name].append(contestant())
    return times


def timed(function: Callable[[], object], share: int = 1) -> Callable[[], float]:
    """Wall seconds of a call, times ``share`` where it does that part of the work."""

    def run() -> float:
        start = time.perf_counter()
        function()
        return share * (time.perf_counter() - start)

    return run


def main() -> None:
    """Print the table."""
    voxels = region()
    total = sum(pairs(voxels, offset).size for offset in OFFSETS)
    first = glcm.features(voxels)  # compiled before anything is timed
    np.testing.assert_allclose(first, numpy_and_scikit_image(voxels), rtol=1e-9, atol=1e-12)
    logging.disable()  # MIRP would say much
    contestants = {
        "mflib, one thread": timed(lambda: glcm.features(voxels)),
        "numpy bincount + graycoprops": timed(lambda: numpy_and_scikit_image(voxels)),
    }
    slow = {"numpy bincount + graycoprops"}
    with tempfile.TemporaryDirectory() as folder:
        loop = compiled(Path(folder))
        if loop is None:
            print("skipped: the bare C loop, for there is no C compiler")
        else:
            contestants = {"bare C loop": lambda: floor_seconds(loop, voxels)} | contestants
        if importlib.util.find_spec("mirp") is None:
            print("skipped: MIRP, which is not installed (pip install -e .[bench])")
        else:
            name = f"MIRP {version('mirp')}, x {MIRP_SHARE} from one step and level count"
            mirp(voxels[:8, :8, :8])  # imported before anything is timed
            contestants[name] = timed(lambda: mirp(voxels), MIRP_SHARE)
            slow.add(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MIRP's own
            times = rounds(contestants, slow)
    print(f"{voxels.shape}, {total / 1e6:.1f} million pairs, {first.size} features")
    print(f"{'':52} {'minimum':>9} {'median':>9} {'ns a pair':>10} {'of mflib, one thread':>21}")
    ours = times["mflib, one thread"]
    for name, seconds in times.items():
        ratios = f"{min(seconds) / min(ours):9.2f} {median(seconds) / median(ours):9.2f}"
        print(f"{name:52} {min(seconds):8.3f}s {median(seconds):8.3f}s {1e9 * min(seconds) / total:10.3f} {ratios:>21}")
    if "bare C loop" in times:
        floor = times["bare C loop"]
        against = f"{min(ours) / min(floor):.2f} by the minimum, {median(ours) / median(floor):.2f} by the median"
        print(f"mflib, one thread, against the bare C loop: {against}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        memory = pool.apply(working_set_mib, (voxels,))
    print(
        "skipped: memory, which is read from Linux"
        if memory is None
        else f"working set beyond the volume: {memory:.1f} MiB"
    )


if __name__ == "__main__":
    main()
