"""What may be chosen in training, and how one step is computed: device, threads, precision, repeatability."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as settings
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv3d_weight_memory_format

from mflib.base.errors import RunError
from mflib.base.settings import STRICT

Depth = Literal[10, 18, 34, 50, "small"]
Pretrained = Literal["none", "if-present", "required"]
Gain = Literal["normalised", "recorded"]
Scale = Literal["zscore", "fixed"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "exponential", "constant"]
Precision = Literal["float32", "bfloat16"]
Extent = Annotated[int, Field(ge=8)]


@settings(frozen=True, config=STRICT)
class NetworkSettings:
    """Architecture, input and optimisation of the network; the defaults are the quick profile's.

    Learning rate, momentum and weight decay are MedicalNet's for its backbone. With ten times the rate, or AdamW at the
    same, the validation AUC is alike but the validation loss swings from epoch to epoch.

    Parameters
    ----------
    depth, width, dilated : the architecture, see ``network.build``
    pretrained : start from released MedicalNet weights: "none", "if-present" on this machine, or "required" (from the
        Hugging Face hub where they are not present)
    weights : path of a weights file, or the name of a released one; empty for the 23-dataset file of ``depth``
    frozen : leave the backbone as released and fit only a logistic head on its features, see ``transfer``
    size : extent of the network's input in voxels, lateral x depth x elevation
    gain : "normalised" by the two reference points, or as "recorded"
    scale : "zscore" of each volume, which takes its mean brightness out, or one "fixed" scale for all
    epochs : at most so many passes over the training part
    batch : volumes per step
    optimizer : "sgd" or "adamw"
    learning_rate : of the backbone, at the start
    head_factor : times which it is the rate of the fully connected layer, which always starts from random weights
    momentum : of SGD; AdamW has its own
    weight_decay : L2 penalty of SGD, decoupled decay of AdamW
    schedule : "cosine" lets the learning rate fall to zero over ``epochs``, "exponential" by 1 % an epoch as
        MedicalNet's, "constant" keeps it
    class_weights : weight infiltrated segments by healthy over infiltrated ones of the training part
    patience : stop after so many epochs without a better validation AUC
    flips : axes mirrored at random in training. Depth (1) is left out: the echo fades and shadows fall along it
    intensity : each training volume is scaled by up to 1 +- this and shifted by up to +- this, in standard deviations
    precision : "bfloat16" computes the steps so where rounding is harmless; one batch is held against float32 first
    seed : of the first weights, the order of the volumes and what is changed in them
    workers : folds trained at a time on CPUs, one thread each; with GPUs it is one on each

    """

    depth: Depth = "small"
    width: Annotated[int, Field(ge=1)] | None = None
    dilated: bool = True
    pretrained: Pretrained = "none"
    weights: str = ""
    frozen: bool = False
    size: tuple[Extent, Extent, Extent] = (48, 48, 24)
    gain: Gain = "normalised"
    scale: Scale = "zscore"
    epochs: Annotated[int, Field(ge=1)] = 8
    batch: Annotated[int, Field(ge=1)] = 4
    optimizer: Optimizer = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    head_factor: Annotated[float, Field(gt=0)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    schedule: Schedule = "cosine"
    class_weights: bool = False
    patience: Annotated[int, Field(ge=1)] = 8
    flips: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0, 2)
    intensity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Precision = "float32"
    seed: int = 20
    workers: Annotated[int, Field(ge=1)] = 2

    def __post_init__(self) -> None:
        """Refuse what would fail, or do nothing, hours later."""
        if wrong := self._weights_that_mean_nothing():
            raise ValueError("; ".join(wrong))

    def _weights_that_mean_nothing(self) -> list[str]:
        wrong = []
        if self.pretrained == "none" and self.weights:
            wrong.append(f"weights {self.weights!r} with pretrained 'none', expected 'if-present' or 'required'")
        if self.pretrained != "none" and not self.weights and self.depth == "small":
            wrong.append(f"pretrained {self.pretrained!r} of depth 'small', which was never released; expected weights")
        if self.frozen and self.pretrained != "required":
            wrong.append(f"frozen with pretrained {self.pretrained!r}, expected 'required': random features say little")
        return wrong


# A broken kernel gives an unrelated gradient (cosine about 0); rounding to 8 bits of mantissa leaves nearly all of it.
SAME_DIRECTION, SAME_DIRECTION_OF_A_KERNEL = 0.9, 0.5


def device() -> torch.device:
    """The GPU where this process sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def described(settings: NetworkSettings, threads: int = 1) -> str:
    """Device, precision and threads in one line, for the record of a fold."""
    where = (
        torch.cuda.get_device_name() if device().type == "cuda" else f"CPU {torch.backends.cpu.get_cpu_capability()}"
    )
    exact = "TF32 off" if device().type == "cuda" else f"{threads} thread{'s' * (threads > 1)}"
    return f"{where}, {settings.precision}, {exact}, torch {torch.__version__}"


@contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """One thread, no TF32 and repeatable algorithms: sums over two threads round otherwise than sums in one."""
    before, mode, tuned = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    products = torch.backends.fp32_precision  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    # On a GPU an operation without a repeatable form is worth a warning, not the end of the run. The other function for
    # it, use_deterministic_algorithms, imports torch's compiler, which takes seconds.
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = tuned
        torch.backends.fp32_precision = products  # type: ignore[attr-defined]


def sent(tensor: Tensor) -> Tensor:
    """The tensor on the device; to a GPU it goes while this thread goes on."""
    pinned = tensor.pin_memory() if device().type == "cuda" else tensor
    return pinned.to(device(), non_blocking=True)


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


def check_precision(model: nn.Module, volumes: Tensor, truth: Tensor, settings: NetworkSettings) -> None:
    """Hold the gradient of one batch in ``settings.precision`` against that in float32; the model stays as it is.

    Some releases of cuDNN have computed 3D convolutions in bfloat16 wrongly (pytorch issue 163539), so every kernel is
    looked at. On CPUs no batch can tell: in torch 2.13 the weight gradient of a 3 x 3 x 3 convolution of a map of
    2 x 2 x 1 or 2 x 2 x 2 voxels is sometimes right and sometimes what happened to be in memory.

    Raises
    ------
    RunError
        The gradients point in different directions, or this is a CPU.
    """
    check_device(settings)
    compare_gradients(model, volumes, truth, settings)


def check_device(settings: NetworkSettings) -> None:
    """Raise ``RunError`` where training in the settings' precision cannot be trusted on this device."""
    if settings.precision != "float32" and not settings.frozen and device().type == "cpu":
        raise RunError(f"training in {settings.precision} needs a GPU, found none; set precision: float32")


def compare_gradients(model: nn.Module, volumes: Tensor, truth: Tensor, settings: NetworkSettings) -> None:
    """Raise ``RunError`` where the rounded gradient of one batch is another, as a whole or of one kernel."""
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
        raise RunError(
            f"{what} in {settings.precision} has a cosine of {cosine:.3f} to that in float32 "
            f"({described(settings)}), expected at least {least}; set precision: float32"
        )


def _gradient(
    model: nn.Module, volumes: Tensor, truth: Tensor, settings: NetworkSettings, exact: bool
) -> dict[str, Tensor]:
    """The gradient of the loss of one batch by parameter, float32."""
    twin = copy.deepcopy(model).train()
    logits = forward(twin, volumes, settings, exact=exact)[:, 0]
    F.binary_cross_entropy_with_logits(logits, truth).backward()
    return {name: p.grad.float() for name, p in twin.named_parameters() if p.grad is not None}
