"""Where the network looks: Grad-CAM and occlusion maps, and the checks that a map must pass before it is believed.

A map that looks sensible proves nothing: edges alone make such pictures (Adebayo et al. 2018, arXiv:1810.03292). So a
map is compared with those of the same network after its weights were drawn anew, and with those of other networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from mflib.data import preprocess
from mflib.models.dcnn.network import initialise
from mflib.models.dcnn.settings import NetworkSettings

Map = NDArray[np.float32]
Shape = tuple[int, int, int]
STRIDES = (8, 32)  # of the dilated and of the strided network's last map
STAGES = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")
# In the order of the cascade; the stem's convolution and its normalisation are one step.
CASCADE = (("fc",), ("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))
BATCH = 8


def grad_cam(model: nn.Module, volume: Map, towards: int = 1) -> Map:
    """Grad-CAM at layer 4: the channels of the last map, weighted by how the logit depends on them.

    Parameters
    ----------
    model : of ``network.build``, in evaluation
    volume : (ni, nj, nk) float32, the network's input
    towards : 1 for evidence of infiltration (the logit), 0 for evidence of none (minus the logit)

    Returns
    -------
    (mi, mj, mk) float32
        Zero or more, on the grid of layer 4, in units of the logit: without the ReLU the sum is the logit less the
        bias, in the direction ``towards``. All zero where nothing speaks for it.

    Notes
    -----
    Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74, equations 1 and 2.
    """
    with torch.enable_grad():
        features = _features(model, _input(model, volume)).float().detach().requires_grad_()
        logit = _head(model, features)[0, 0]
        (gradient,) = torch.autograd.grad(logit if towards else -logit, features)
    weights = gradient.mean(dim=(2, 3, 4), keepdim=True)
    return (weights * features.detach()).sum(dim=1)[0].relu().cpu().numpy()


def to_shape(map: Map, size: Shape, shape: Shape) -> Map:
    """Resample a map of layer 4 to the voxels of the region of interest that the network's input was made from.

    Strides and paddings of the network (7/2/3, then 3/2/1 twice) centre voxel m of the map on voxel 8m of the input,
    32m where layers 3 and 4 stride too: not on the middle of the block of 8 or 32. The input in turn covers the same
    extent as the region, so its voxel x lies at (x + 0.5) n / size - 0.5 there. Linear in between; beyond the outermost
    centres the map goes on as it ends.

    Parameters
    ----------
    map : (mi, mj, mk), as :func:`grad_cam`
    size : extent of the network's input in voxels
    shape : extent of the region of interest in voxels

    Returns
    -------
    (ni, nj, nk) float32
        Of ``shape``.

    Raises
    ------
    ValueError
        The extent of the map is that of neither network.
    """
    stride = _stride(map.shape, size)
    i, j, k = (_weights(m, s, n, stride) for m, s, n in zip(map.shape, size, shape, strict=True))
    return np.einsum("abc,ia,jb,kc->ijk", map, i, j, k, optimize=True).astype(np.float32)


def on_region(map: Map, settings: NetworkSettings, shape: Shape, spacing_mm: preprocess.Millimetres) -> Map:
    """Resample a map to the voxels (ni, nj, nk) of the region that lay in the middle of the network's input."""
    box = preprocess.box_shape(shape, spacing_mm, settings.extent_mm)
    return preprocess.laid_into(to_shape(map, settings.size, box), shape)


def occlusion(model: nn.Module, volume: Map, cube: int = 8) -> Map:
    """How much the logit falls when a cube of the input is hidden.

    A hidden cube holds 0: the mean of a z-scored volume, a fixed grey of one with a fixed scale. Cubes start every
    ``cube // 2`` voxels; the last ones are moved inwards to end with the volume, so that all hide the same number of
    voxels.

    Parameters
    ----------
    model : (n, 1, ni, nj, nk) in, (n, 1) logits out; in evaluation
    volume : (ni, nj, nk) float32
    cube : edge in voxels, from 2 to the smallest extent of the volume

    Returns
    -------
    (ni, nj, nk) float32
        Mean fall over the cubes that cover a voxel, in units of the logit; negative where hiding raises it.

    Notes
    -----
    Zeiler and Fergus 2014, doi:10.1007/978-3-319-10590-1_53, section 4.2.
    """
    inputs = _input(model, volume)
    cubes = list(_cubes(volume.shape, cube))
    total, covered = np.zeros(volume.shape), np.zeros(volume.shape)
    with torch.no_grad():
        logit = float(model(inputs)[0, 0])
        for first in range(0, len(cubes), BATCH):
            batch = cubes[first : first + BATCH]
            hidden = inputs.repeat(len(batch), 1, 1, 1, 1)
            for copied, box in zip(hidden, batch, strict=True):
                copied[0][box] = 0
            for box, without in zip(batch, model(hidden)[:, 0].tolist(), strict=True):
                total[box] += logit - without
                covered[box] += 1
    return (total / covered).astype(np.float32)


def share(map: Map, mask: NDArray[np.bool_]) -> float:
    """Fraction of a map's positive part that lies inside a mask.

    Parameters
    ----------
    map : any shape; negative values count as 0, and one at least is positive
    mask : of the same shape

    Returns
    -------
    float
        From 0 to 1. A map that prefers no place gives the mask's fraction of the voxels.
    """
    positive = _positive(map)
    return float(positive[mask].sum() / positive.sum())


def similarity(a: Map, b: Map) -> float:
    """Spearman's rank correlation of two maps over all voxels.

    A constant map, such as a Grad-CAM that is zero everywhere, names no place. It has no ranks to agree with and
    counts as 0: like a map that has nothing to do with the other.
    """
    if min(np.ptp(a), np.ptp(b)) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def randomised(model: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network that forget it from the top: fc first, then layer 4 as well, down to the stem.

    Fresh weights are drawn as in a new network; the batch normalisations forget their statistics too. The caller's
    random numbers go on as if nothing had been drawn.

    Yields
    ------
    (name, copy)
        What was drawn anew last, one of ``fc layer4 layer3 layer2 layer1 conv1``, and the copy in evaluation.

    Notes
    -----
    The cascading randomisation of Adebayo et al. 2018, arXiv:1810.03292, section 4.1.
    """
    changed = model
    for step, names in enumerate(CASCADE):
        changed = copy.deepcopy(changed).eval()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
            for name in names:
                _draw_anew(changed.get_submodule(name))
        yield names[0], changed


def weight_check(model: nn.Module, volumes: Sequence[Map], seed: int) -> pd.DataFrame:
    """How much of a network's maps is left when its weights are forgotten step by step.

    A map that shows what was learnt loses its likeness; one that shows the edges of the picture keeps it.

    Parameters
    ----------
    model, seed : see :func:`randomised`
    volumes : network inputs (ni, nj, nk) float32

    Returns
    -------
    DataFrame
        ``randomised volume similarity``: step of the cascade, position of the volume, likeness to the original map.
    """
    originals = [grad_cam(model, volume) for volume in volumes]
    rows = [
        (name, position, similarity(original, grad_cam(changed, volume)))
        for name, changed in randomised(model, seed)
        for position, (volume, original) in enumerate(zip(volumes, originals, strict=True))
    ]
    return pd.DataFrame(rows, columns=["randomised", "volume", "similarity"])


def stability(models: Sequence[nn.Module], volumes: Sequence[Map]) -> pd.DataFrame:
    """How alike the maps of several networks are.

    Parameters
    ----------
    models : two at least, of one architecture, such as the folds' networks
    volumes : network inputs (ni, nj, nk) float32

    Returns
    -------
    DataFrame
        ``volume similarity``: position of the volume, mean over all pairs of networks.
    """
    rows = []
    for position, volume in enumerate(volumes):
        maps = [grad_cam(model, volume) for model in models]
        rows.append((position, np.mean([similarity(a, b) for a, b in combinations(maps, 2)])))
    return pd.DataFrame(rows, columns=["volume", "similarity"])


def by_depth(maps: Iterable[Map]) -> NDArray[np.float64]:
    """Mean share of the saliency at each depth.

    Parameters
    ----------
    maps : (ni, nj, nk) each, nj alike; each counts the same, one without a positive value not at all

    Returns
    -------
    (nj,) float64
        Adds up to 1.

    Raises
    ------
    ValueError
        No map has a positive value, or their extents in depth differ.
    """
    profiles = [profile / profile.sum() for m in maps if (profile := _positive(m).sum(axis=(0, 2))).any()]
    depths = {len(profile) for profile in profiles}
    if len(depths) != 1:
        raise ValueError(f"maps with a positive value have {sorted(depths)} voxels in depth, expected one number")
    return np.mean(profiles, axis=0)


def _input(model: nn.Module, volume: Map) -> Tensor:
    """One volume as a batch (1, 1, ni, nj, nk) where the model is."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return torch.from_numpy(np.ascontiguousarray(volume))[None, None].to(device)


@torch.no_grad()
def _features(model: nn.Module, inputs: Tensor) -> Tensor:
    """The map of layer 4: (n, channels, mi, mj, mk)."""
    for stage in STAGES:
        inputs = model.get_submodule(stage)(inputs)
    return inputs


def _head(model: nn.Module, features: Tensor) -> Tensor:
    """Logits (n, 1) of maps of layer 4."""
    pooled = model.get_submodule("avgpool")(features)
    return model.get_submodule("fc")(pooled.flatten(1))


def _stride(extent: tuple[int, ...], size: Shape) -> int:
    for stride in STRIDES:
        if extent == tuple(-(-n // stride) for n in size):
            return stride
    raise ValueError(f"map of {extent} voxels for an input of {tuple(size)}, expected an eighth or a 32nd, rounded up")


def _weights(nodes: int, size: int, voxels: int, stride: int) -> NDArray[np.float64]:
    """(voxels, nodes) weights of linear interpolation along one axis."""
    of_input = (np.arange(voxels) + 0.5) * size / voxels - 0.5
    position = np.clip(of_input / stride, 0, nodes - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(nodes)), 0)


def _cubes(shape: tuple[int, ...], cube: int) -> Iterator[tuple[slice, ...]]:
    step = cube // 2
    starts = [np.minimum(np.arange(0, n - cube + step, step), n - cube) for n in shape]
    for corner in product(*(map(int, axis) for axis in starts)):
        yield tuple(slice(start, start + cube) for start in corner)


def _positive(map: Map) -> NDArray[np.float64]:
    return np.maximum(map, 0, dtype=np.float64)


def _draw_anew(part: nn.Module) -> None:
    """What a new network would hold."""
    for module in part.modules():
        if isinstance(module, nn.BatchNorm3d | nn.Linear):
            module.reset_parameters()
    initialise(part)
