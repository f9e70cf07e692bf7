"""How one step is computed: device, threads, precision, repeatability, and a look at whether rounding does harm."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv3d_weight_memory_format

from mflib.dcnn.settings import Settings

# A broken kernel gives an unrelated gradient (cosine about 0); rounding to 8 bits of mantissa leaves nearly all of it.
SAME_DIRECTION = 0.9


class PrecisionError(RuntimeError):
    """Rounded arithmetic that does not give the gradient of exact arithmetic on this machine."""


def device() -> torch.device:
    """The GPU where this process sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def described(settings: Settings) -> str:
    """Device, precision and threads in one line, for the record of a fold."""
    where = (
        torch.cuda.get_device_name() if device().type == "cuda" else f"CPU {torch.backends.cpu.get_cpu_capability()}"
    )
    exact = "TF32 off" if device().type == "cuda" else "1 thread"
    return f"{where}, {settings.precision}, {exact}, torch {torch.__version__}"


@contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """One thread, no TF32 and repeatable algorithms: sums over two threads round otherwise than sums in one."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, tuned = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    products = torch.backends.fp32_precision  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    # On a GPU an operation without a repeatable form is worth a warning, not the end of the run.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.backends.cudnn.benchmark = tuned
        torch.backends.fp32_precision = products  # type: ignore[attr-defined]


def placed(model: nn.Module, settings: Settings) -> nn.Module:
    """The model on the device, its weights in the order of memory in which they train fastest."""
    model = model.to(device())
    # In float32 dilated networks train about 1.6 times as fast so; strided ones gain little or lose.
    if settings.dilated or settings.precision == "bfloat16":
        convert_conv3d_weight_memory_format(model, torch.channels_last_3d)
    return model


def forward(model: nn.Module, volumes: Tensor, settings: Settings, *, exact: bool = False) -> Tensor:
    """What the model makes, (n, outputs) float32, of volumes (n, ni, nj, nk) on its device; ``exact``: in float32."""
    rounded = settings.precision == "bfloat16" and not exact
    with torch.autocast(device().type, dtype=torch.bfloat16, enabled=rounded):
        output: Tensor = model(volumes[:, None])
    return output.float()


def check_precision(model: nn.Module, volumes: Tensor, truth: Tensor, settings: Settings) -> None:
    """Hold the gradient of one batch in ``settings.precision`` against that in float32; the model stays as it is.

    Some releases of cuDNN have computed 3D convolutions in bfloat16 wrongly (pytorch issue 163539).

    Raises
    ------
    PrecisionError
        The gradients point in different directions.
    """
    exact, rounded = (_gradient(model, volumes, truth, settings, exact) for exact in (True, False))
    check_direction(exact, rounded, settings, "gradient of one batch")


def check_direction(exact: Tensor, rounded: Tensor, settings: Settings, what: str) -> None:
    """Raise ``PrecisionError`` where two vectors that should be the same point in different directions."""
    cosine = float(F.cosine_similarity(exact, rounded, dim=0))
    if not cosine >= SAME_DIRECTION:
        raise PrecisionError(
            f"{what} in {settings.precision} has a cosine of {cosine:.3f} to that in float32 "
            f"({described(settings)}), expected at least {SAME_DIRECTION}; set precision: float32"
        )


def _gradient(model: nn.Module, volumes: Tensor, truth: Tensor, settings: Settings, exact: bool) -> Tensor:
    """The gradient of the loss of one batch, all parameters in one float32 vector."""
    twin = copy.deepcopy(model).train()
    logits = forward(twin, volumes, settings, exact=exact)[:, 0]
    F.binary_cross_entropy_with_logits(logits, truth).backward()
    return torch.cat([p.grad.flatten().float() for p in twin.parameters() if p.grad is not None])
