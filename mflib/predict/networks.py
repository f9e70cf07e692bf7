"""Stored networks: read without running anything in the file, and asked about one volume."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mflib.dcnn import compute, fold, network, saliency
from mflib.dcnn.settings import Settings
from mflib.predict.results import PredictError
from mflib.preprocess import Region

# Larger inputs and wider networks than any study's are a mistake, or meant to fill the memory.
LARGEST_INPUT, WIDEST = 512, 1024

Input = NDArray[np.float32]


def check(settings: Settings) -> None:
    """Refuse a network that would fill the memory before its weights are even looked at.

    Raises
    ------
    PredictError
        With what was found.
    """
    width = 1 if settings.width is None else settings.width
    whole = all(type(number) is int for number in (*settings.size, width))
    if not whole or max(settings.size) > LARGEST_INPUT or not 1 <= width <= WIDEST:
        found = f"an input of {settings.size} voxels and width {settings.width}"
        raise PredictError(f"found {found}, expected at most {LARGEST_INPUT} along each axis and width {WIDEST}")


def read(name: str, content: bytes, settings: Settings) -> nn.Module:
    """The network in the bytes of a file of tensors, in evaluation, on the device.

    Raises
    ------
    PredictError
        The file holds anything but finite tensors, or those of another network.
    """
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PredictError(f"{name}: cannot be read as plain tensors ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) and type(v) is Tensor for key, v in state.items()):
        raise PredictError(f"{name}: found a {type(state).__name__}, expected tensors by name")
    model: nn.Module = network.build(settings.depth, settings.width, settings.dilated)
    _check_kinds(name, state, model.state_dict())
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise PredictError(f"{name}: not the weights of this network ({error})") from error
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
        raise PredictError(f"{name}: found weights that are not finite")
    return compute.placed(model.eval(), settings)


def _check_kinds(name: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no plain numbers in memory: of no device, sparse, nested, quantised, or wider ones.

    Raises
    ------
    PredictError
        With the first of them.
    """
    for key, value in state.items():
        plain = not value.is_nested and value.layout is torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.dtype is not own.get(key, value).dtype:
            raise PredictError(f"{name}: found another kind of tensor for {key[:80]!r}, expected the run's own")


def scores(models: list[nn.Module], voxels: Input, settings: Settings) -> list[float]:
    """Score of each network, in [0, 1]."""
    position = np.zeros(1, dtype=np.intp)
    with compute.reproducible():
        return [float(fold.logits(model, voxels[None], position, settings).sigmoid()[0]) for model in models]


def saliency_map(models: list[nn.Module], voxels: Input, towards: int, region: Region, settings: Settings) -> Input:
    """Mean of the networks' Grad-CAMs towards a call, on the voxels of the region."""
    with compute.reproducible(), compute.rounding(settings):
        maps = [saliency.grad_cam(model, voxels, towards) for model in models]
    return saliency.to_shape(np.mean(maps, axis=0), settings.size, region.voxels.shape)
