"""How one step is computed: its batches, device, threads, precision, repeatability."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv3d_weight_memory_format

from mflib.base.errors import RunError
from mflib.models.dcnn.inputs import Volumes, volume_of
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.folds import Indices, Labels

Axes = tuple[int, ...]
# Batches in waiting: reading one takes less time than a step, so a few are never used up.
AHEAD = 4

# A broken kernel gives an unrelated gradient (cosine about 0); rounding to 8 bits of mantissa leaves nearly all of it.
SAME_DIRECTION, SAME_DIRECTION_OF_A_KERNEL = 0.9, 0.5


def device() -> torch.device:
    """The GPU where this process sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def described(settings: NetworkSettings, threads: int = 1) -> str:
    """Device, precision and threads in one line, for the record of a fold."""
    gpu = device().type == "cuda"
    where = torch.cuda.get_device_name() if gpu else f"CPU {torch.backends.cpu.get_cpu_capability()}"
    exact = "TF32 off" if gpu else "1 thread" if threads == 1 else f"{threads} threads"
    return f"{where}, {settings.precision}, {exact}, torch {torch.__version__}"


@contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """One thread, no TF32 and repeatable algorithms: sums over two threads round otherwise than sums in one."""
    before, mode, tuned = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    # Where it acts: not every release of torch lets the precision of all stand above that of cuDNN's convolutions.
    exact = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    precisions = [of.fp32_precision for of in exact]
    torch.set_num_threads(threads)
    # On a GPU an operation without a repeatable form is worth a warning, not the end of the run. The other function for
    # it, use_deterministic_algorithms, imports torch's compiler, which takes seconds.
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    for of in exact:
        of.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = tuned
        for of, precision in zip(exact, precisions, strict=True):
            of.fp32_precision = precision


def placed(model: nn.Module, settings: NetworkSettings) -> nn.Module:
    """The model on the device, its weights in the order of memory in which they train fastest."""
    model = model.to(device())
    # In float32 dilated networks train about 1.6 times as fast so; strided ones gain little or lose.
    if settings.dilated or settings.precision == "bfloat16":
        convert_conv3d_weight_memory_format(model, torch.channels_last_3d)
    return model


def forward(model: nn.Module, volumes: Tensor, settings: NetworkSettings, *, exact: bool = False) -> Tensor:
    """What the model makes, (n, outputs) float32, of volumes (n, ni, nj, nk) on its device; ``exact``: in float32."""
    with rounding(settings, enabled=not exact):
        output: Tensor = model(volumes[:, None])
    return output.float()


def rounding(settings: NetworkSettings, *, enabled: bool = True) -> torch.autocast:
    """Where entered, what may be rounded is computed in the settings' precision."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=enabled and settings.precision == "bfloat16")


def compare_gradients(model: nn.Module, volumes: Tensor, truth: Tensor, settings: NetworkSettings) -> None:
    """Hold the gradient of one batch in ``settings.precision`` against that in float32; the model stays as it is.

    Some releases of cuDNN have computed 3D convolutions in bfloat16 wrongly (pytorch issue 163539), so every kernel is
    looked at. On CPUs no batch can tell, see `settings.check_device`: in torch 2.13 the weight gradient of a 3 x 3 x 3
    convolution of a map of 2 x 2 x 1 or 2 x 2 x 2 voxels is sometimes right and sometimes what happened to be in
    memory.

    Raises
    ------
    RunError
        The gradients point in different directions, as a whole or of one kernel.
    """
    exact, rounded = (_gradient(model, volumes, truth, settings, exact) for exact in (True, False))
    for name in exact:
        if exact[name].ndim == 5 and exact[name].any():
            least = SAME_DIRECTION_OF_A_KERNEL
            check_direction(exact[name].flatten(), rounded[name].flatten(), settings, f"gradient of {name}", least)
    one, other = (torch.cat([part.flatten() for part in of.values()]) for of in (exact, rounded))
    check_direction(one, other, settings, "gradient of one batch")


def check_direction(
    exact: Tensor, rounded: Tensor, settings: NetworkSettings, what: str, least: float = SAME_DIRECTION
) -> None:
    """Raise ``RunError`` where two vectors that should be the same point in different directions."""
    cosine = float(F.cosine_similarity(exact, rounded, dim=0))
    if not cosine >= least:  # nor is NaN
        found = f"a cosine of {cosine:.3f} to that in float32 ({described(settings)})"
        raise RunError(f"{what} in {settings.precision} has {found}, expected at least {least}; set precision: float32")


def _gradient(
    model: nn.Module, volumes: Tensor, truth: Tensor, settings: NetworkSettings, exact: bool
) -> dict[str, Tensor]:
    """The gradient of the loss of one batch by parameter, float32."""
    twin = copy.deepcopy(model).train()
    logits = forward(twin, volumes, settings, exact=exact)[:, 0]
    F.binary_cross_entropy_with_logits(logits, truth).backward()
    return {name: p.grad.float() for name, p in twin.named_parameters() if p.grad is not None}


def training_batches(
    inputs: Volumes, labels: Labels, positions: Indices, rng: np.random.Generator, settings: NetworkSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of mirrored volumes (batch, ni, nj, nk) and their labels (batch,) float32, on the device.

    What is left over from whole batches waits for another epoch: batch normalisation of one volume fails on small maps.
    """
    order = rng.permutation(positions)
    whole = order[: len(order) // settings.batch * settings.batch].reshape(-1, settings.batch)
    drawn = ((batch, [_flips(rng, settings) for _ in batch]) for batch in whole)
    for batch, voxels in zip(whole, _ahead(inputs, drawn, settings), strict=True):
        yield voxels, torch.from_numpy(labels[batch].astype(np.float32)).to(device(), non_blocking=True)


def scoring_batches(inputs: Volumes, positions: Indices, settings: NetworkSettings) -> Iterator[Tensor]:
    """Batches of volumes (at most batch, ni, nj, nk) as they are, on the device, in the order of ``positions``."""
    starts = range(0, len(positions), settings.batch)
    parts = (positions[start : start + settings.batch] for start in starts)
    return _ahead(inputs, ((part, [()] * len(part)) for part in parts), settings)


def _flips(rng: np.random.Generator, settings: NetworkSettings) -> Axes:
    """The axes along which one training volume is mirrored."""
    return tuple(axis for axis in settings.flips if rng.random() < 0.5)


def _ahead(
    inputs: Volumes, batches: Iterable[tuple[Indices, list[Axes]]], settings: NetworkSettings
) -> Iterator[Tensor]:
    """The batches in their order, some of them read ahead."""

    def read(batch: tuple[Indices, list[Axes]]) -> Tensor:
        mirrored = [np.flip(volume_of(inputs, int(n), settings), axes) for n, axes in zip(*batch, strict=True)]
        stacked = torch.from_numpy(np.stack(mirrored))
        return stacked.pin_memory() if device().type == "cuda" else stacked

    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(AHEAD if device().type == "cuda" else 1) as readers:
        for batch in batches:
            waiting.append(readers.submit(read, batch))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result().to(device(), non_blocking=True)
        while waiting:
            yield waiting.popleft().result().to(device(), non_blocking=True)
