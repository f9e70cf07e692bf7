"""What a fold's network is fed: batches in an order and with changes that follow from seed, fold and epoch alone.

The next batches are read, changed and put into page-locked memory by other threads while the network works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mflib.dcnn import compute
from mflib.dcnn.record import Labels, Volumes, volume
from mflib.dcnn.settings import Settings
from mflib.folds import Indices

# Batches in waiting: reading one takes less time than a step, so a few are never used up.
AHEAD = 4


@dataclass(frozen=True)
class Change:
    """How one training volume is changed: the axes that are mirrored, and its new contrast and brightness."""

    axes: tuple[int, ...] = ()
    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The changed volume."""
        mirrored = np.flip(voxels, self.axes)
        return mirrored if (self.factor, self.shift) == (1, 0) else mirrored * self.factor + self.shift


def training(
    inputs: Volumes, labels: Labels, positions: Indices, rng: np.random.Generator, settings: Settings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of changed volumes (batch, ni, nj, nk) and their labels (batch,) float32, on the device.

    What is left over from whole batches waits for another epoch: batch normalisation of one volume fails on small maps.
    """
    order = rng.permutation(positions)
    whole = order[: len(order) // settings.batch * settings.batch].reshape(-1, settings.batch)
    drawn = ((batch, [_drawn(rng, settings) for _ in batch]) for batch in whole)
    for batch, volumes in zip(whole, _ahead(inputs, drawn, settings), strict=True):
        yield volumes, compute.sent(torch.from_numpy(labels[batch].astype(np.float32)))


def scoring(inputs: Volumes, positions: Indices, settings: Settings) -> Iterator[Tensor]:
    """Batches of volumes (at most batch, ni, nj, nk) as they are, on the device, in the order of ``positions``."""
    starts = range(0, len(positions), settings.batch)
    parts = (positions[start : start + settings.batch] for start in starts)
    return _ahead(inputs, ((part, [Change()] * len(part)) for part in parts), settings)


def _drawn(rng: np.random.Generator, settings: Settings) -> Change:
    axes = tuple(axis for axis in settings.flips if rng.random() < 0.5)
    if not settings.intensity:
        return Change(axes)
    factor, shift = rng.uniform(-settings.intensity, settings.intensity, 2)
    return Change(axes, float(1 + factor), float(shift))


def _ahead(inputs: Volumes, batches: Iterable[tuple[Indices, list[Change]]], settings: Settings) -> Iterator[Tensor]:
    """The batches in their order, some of them read ahead."""

    def read(batch: tuple[Indices, list[Change]]) -> Tensor:
        changed = [change(volume(inputs, int(n), settings)) for n, change in zip(*batch, strict=True)]
        stacked = torch.from_numpy(np.stack(changed))
        return stacked.pin_memory() if compute.device().type == "cuda" else stacked

    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(AHEAD if compute.device().type == "cuda" else 1) as readers:
        for batch in batches:
            waiting.append(readers.submit(read, batch))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result().to(compute.device(), non_blocking=True)
        while waiting:
            yield waiting.popleft().result().to(compute.device(), non_blocking=True)
