"""Time of a training step against a bare loop of the same network, and what the processor could do at best.

    .venv/bin/python benchmarks/dcnn.py          # the quick profile's network
    .venv/bin/python benchmarks/dcnn.py paper    # ResNet-50 on 128 x 128 x 64 in bfloat16; wants a GPU

The bare loop has random tensors in place: no files, no flips, no labels to look up. Both run in turn in this process,
with one thread on a CPU, as folds do. The floor is the rate of one large matrix product in the same precision. Run on
an otherwise idle machine. Numbers of earlier runs are not used.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F

from mflib.models.dcnn import compute, fold, network
from mflib.models.dcnn.inputs import StoredVolumes, Task
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.folds import Fold
from mflib.study.profile import choose

STEPS, ROUNDS = 20, 7


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def stored(folder: Path, settings: NetworkSettings) -> StoredVolumes:
    """Random volumes on disk, as many as the steps need."""
    rng = np.random.default_rng(0)
    paths = tuple(folder / f"{n}.npy" for n in range(STEPS * settings.batch))
    for path in paths:
        np.save(path, rng.standard_normal(settings.size, dtype=np.float32))
    return StoredVolumes(paths)


def bare(state: fold.State, settings: NetworkSettings) -> Callable[[], None]:
    """A loop of steps on one random batch that lies where the network is."""
    volumes = torch.randn(settings.batch, *settings.size, device=compute.device())
    truth = torch.tensor([0.0, 1.0], device=compute.device()).repeat(settings.batch)[: settings.batch]

    def loop() -> None:
        for _ in range(STEPS):
            loss = F.binary_cross_entropy_with_logits(compute.forward(state.network, volumes, settings)[:, 0], truth)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()

    return loop


def product_rate(settings: NetworkSettings) -> float:
    """FLOP/s of the best of several large matrix products in the settings' precision."""
    n = 8192 if torch.cuda.is_available() else 2048
    kind = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    a, b = (torch.randn(n, n, device=compute.device()).to(kind) for _ in range(2))
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(10))


def step_flop(settings: NetworkSettings) -> float:
    """FLOP of a training step: forward once, backward twice as much."""
    model = network.build(settings.depth, settings.width, settings.dilated)
    return 3e9 * float(network.layers(model, settings.size)["GFLOP"].sum()) * settings.batch


def compared(settings: NetworkSettings, folder: Path) -> None:
    """Print the step of a fold beside a bare one, with what each achieves."""
    volumes = stored(folder, settings)
    labels = np.arange(len(volumes)) % 2
    whole = Fold(0, 1, np.arange(len(volumes)), np.arange(0), np.arange(0))
    task = Task(volumes, labels, whole, settings, folder)
    state = fold._started(task)
    loop = bare(state, settings)
    ways = {"fold": lambda: fold._descend(state, task), "bare loop": loop}
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(seconds(way) / STEPS)
    peak = product_rate(settings)
    for name, times in found.items():
        rate = step_flop(settings) / min(times)
        best, middle = 1000 * min(times), 1000 * median(times)
        print(f"{name:10} {best:8.1f} ms a step at best, {middle:8.1f} median, {rate / 1e9:6.0f} GFLOP/s at best")
        print(f"{'':10} that is {rate / peak:.0%} of a matrix product")
    print(f"matrix product {peak / 1e9:.0f} GFLOP/s in {settings.precision}")
    for kind, of in (("at best", min), ("median", median)):
        print(f"fold / bare loop, {kind}: {of(found['fold']) / of(found['bare loop']):.3f}")
    start = time.perf_counter()
    fold.save_checkpoint(state, folder, "key")
    print(f"checkpoint: {1000 * (time.perf_counter() - start):.0f} ms")


def by_batch(settings: NetworkSettings) -> None:
    """Print samples a second of the bare loop by batch size, and the memory that it took."""
    nobody = Fold(0, 1, np.arange(0), np.arange(0), np.arange(0))
    for batch in (1, 2, 4, 8, 16, 32):
        larger = replace(settings, batch=batch)
        torch.cuda.reset_peak_memory_stats()
        loop = bare(fold._started(Task([], np.arange(0), nobody, larger, Path())), larger)
        loop()
        rate = STEPS * batch / min(seconds(loop) for _ in range(3))
        memory = torch.cuda.max_memory_allocated() / 2**30
        print(f"batch {batch:3}: {rate:7.1f} volumes a second, {memory:.1f} GiB")


def main(profile: str) -> None:
    """Print the figures of a profile's network, from random weights."""
    settings = replace(choose(profile).network, pretrained="none", weights="", frozen=False)
    print(f"{compute.described(settings)}; depth {settings.depth}, {settings.size}, batch {settings.batch}")
    with compute.reproducible(), tempfile.TemporaryDirectory() as folder:
        compared(settings, Path(folder))
        if torch.cuda.is_available():
            by_batch(settings)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "quick")
