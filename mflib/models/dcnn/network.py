"""The architecture: MedicalNet's 3D residual networks, with one logit.

MedicalNet (Chen, Ma and Zheng 2019, arXiv:1904.00625; ``models/resnet.py`` of github.com/Tencent/MedicalNet) strides
by 2 in its stem, its max pool and layer 2 only. Layers 3 and 4 keep the resolution and dilate every 3 x 3 x 3
convolution by 2 and 4 instead, so the last map has an eighth of the input's extent. ``resnet50(pretrained=True)`` of
MONAI takes the same weights into strides of 2 there and a stem of stride 1, and nothing fails: it is another network.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mflib.base.errors import FileError
from mflib.models.dcnn.settings import Depth, NetworkSettings, find_weights

if TYPE_CHECKING:
    import pandas as pd


class Wide(nn.Conv3d):
    """A 3 x 3 x 3 convolution without the taps that only ever meet padding: dilated by more than the map is long.

    On the small maps of layer 4 that is two thirds of the products and more; their weights have no gradient either way.
    """

    def __init__(self, channels: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__(channels, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) in, (n, planes, ...) out."""
        met = [dilation < extent for dilation, extent in zip(self.dilation, x.shape[2:], strict=True)]
        weight = self.weight[(..., *(slice(None) if all_three else slice(1, 2) for all_three in met))]
        padding = [dilation * all_three for dilation, all_three in zip(self.dilation, met, strict=True)]
        return F.conv3d(x, weight, None, self.stride, padding, self.dilation)


class Pool(nn.MaxPool3d):
    """A max pool whose gradient is the same each time on a GPU too: torch's own adds there in the order of chance."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) in, (n, channels, ...) of half the extent out."""
        return gathered(x) if x.is_cuda else super().forward(x)


def gathered(x: Tensor) -> Tensor:
    """What `Pool` makes, by the places of the maxima: that has a repeatable gradient."""
    pooled, places = F.max_pool3d(x.detach(), 3, 2, 1, return_indices=True)
    return x.flatten(2).gather(2, places.flatten(2)).view_as(pooled)


def _narrow(channels: int, planes: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, planes, 1, stride, bias=False)


class Basic(nn.Module):
    """Two 3 x 3 x 3 convolutions beside a shortcut (He et al. 2016, doi:10.1109/CVPR.2016.90, figure 5 left)."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = Wide(channels, planes, stride, dilation)
        self.bn1 = nn.BatchNorm3d(planes)
        self.act = nn.ReLU(inplace=True)
        self.conv2 = Wide(planes, planes, 1, dilation)
        self.bn2 = nn.BatchNorm3d(planes)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) in, (n, planes, ...) out."""
        out: Tensor = self.act(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.act(out)


class Bottleneck(nn.Module):
    """A 3 x 3 x 3 convolution between two that change the number of channels (He et al. 2016, figure 5 right)."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = _narrow(channels, planes)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = Wide(planes, planes, stride, dilation)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = _narrow(planes, planes * self.expansion)
        self.bn3 = nn.BatchNorm3d(planes * self.expansion)
        self.act = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) in, (n, 4 planes, ...) out."""
        out: Tensor = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.downsample(x)
        return self.act(out)


class Padded(nn.Module):
    """Shortcut A: every ``stride``-th voxel, with channels of zeros added. No gradient passes it, as in MedicalNet."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, ...) in, (n, channels, ...) out."""
        step = self.stride
        return F.pad(x.detach()[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))


@dataclass(frozen=True)
class Architecture:
    """One published depth.

    Parameters
    ----------
    block : the residual block
    blocks : how many of them in layers 1 to 4
    shortcut : "A" pads the identity with zero channels, "B" is a 1 x 1 x 1 convolution
    width : channels of the stem and of layer 1's 3 x 3 x 3 convolutions
    """

    block: type[Basic] | type[Bottleneck]
    blocks: tuple[int, int, int, int]
    shortcut: Literal["A", "B"]
    width: int = 64


ARCHITECTURES: dict[int | str, Architecture] = {
    10: Architecture(Basic, (1, 1, 1, 1), "B"),
    18: Architecture(Basic, (2, 2, 2, 2), "A"),
    34: Architecture(Basic, (3, 4, 6, 3), "A"),
    50: Architecture(Bottleneck, (3, 4, 6, 3), "B"),
    "small": Architecture(Basic, (1, 1, 1, 1), "B", width=16),
}


class ResNet(nn.Module):
    """Stem, four layers of residual blocks, global average pooling, one logit; see `build`.

    Parameters
    ----------
    architecture : blocks and shortcuts
    width : channels of the stem
    dilated : whether layers 3 and 4 dilate rather than stride
    """

    def __init__(self, architecture: Architecture, width: int, dilated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.act = nn.ReLU(inplace=True)
        self.maxpool = Pool()
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(architecture, width, dilated)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(8 * width * architecture.block.expansion, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, ni, nj, nk) in, (n, 1) out."""
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stages(architecture: Architecture, width: int, dilated: bool) -> Iterator[nn.Sequential]:
    """Layers 1 to 4."""
    strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
    block, channels = architecture.block, width
    for layer, (count, stride, dilation) in enumerate(zip(architecture.blocks, strides, dilations, strict=True)):
        planes = width * 2**layer
        shortcut = _shortcut(architecture, channels, planes * block.expansion, stride)
        first = block(channels, planes, stride, dilation, shortcut)
        channels = planes * block.expansion
        yield nn.Sequential(first, *(block(channels, planes, 1, dilation, nn.Identity()) for _ in range(count - 1)))


def _shortcut(architecture: Architecture, channels: int, out: int, stride: int) -> nn.Module:
    """The way round the first block of a layer; where the extent changes, so does the number of channels."""
    if channels == out:
        return nn.Identity()
    if architecture.shortcut == "A":
        return Padded(out, stride)
    return nn.Sequential(_narrow(channels, out, stride), nn.BatchNorm3d(out))


def initialise(part: nn.Module) -> None:
    """Draw the weights of convolutions anew (He et al. 2015, arXiv:1502.01852, by what goes out); biases become 0."""
    for module in part.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def build(depth: Depth = 50, width: int | None = None, dilated: bool = True) -> ResNet:
    """A freshly initialised network: (n, 1, ni, nj, nk) volumes in, (n, 1) logits out.

    Parameters
    ----------
    depth : one of MedicalNet's depths, or "small": depth 10 at a quarter of its width, which learns on a laptop
    width : channels of the stem, 64 where None (16 for "small"); layers 2, 3 and 4 have 2, 4 and 8 times as many
    dilated : MedicalNet's layers 3 and 4 (output stride 8); False strides there instead (output stride 32)
    """
    architecture = ARCHITECTURES[depth]
    return ResNet(architecture, width or architecture.width, dilated)


def layers(model: nn.Module, size: tuple[int, int, int]) -> pd.DataFrame:
    """What a volume becomes on its way: layer, output (channels x extent), weights, GFLOP (2 per multiply-add).

    Parameters
    ----------
    model : of `build`
    size : extent of the input in voxels
    """
    # A process that trains makes no table and need not wait for it.
    import pandas as pd

    twin = copy.deepcopy(model).to("meta").eval()  # shapes only: nothing is computed
    names, shapes = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc"), {}
    for name in names:
        part = twin.get_submodule(name)
        part.register_forward_hook(lambda _module, _inputs, output, name=name: shapes.update({name: output.shape[1:]}))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.empty(1, 1, *size, device="meta"))
    root, counted = type(twin).__name__, counter.get_flop_counts()
    rows = [
        {
            "layer": name,
            "output": " x ".join(map(str, shapes[name])),
            "weights": sum(p.numel() for p in twin.get_submodule(name).parameters()),
            "GFLOP": sum(counted.get(f"{root}.{name}", {}).values()) / 1e9,
        }
        for name in names
    ]
    return pd.DataFrame(rows)


def load_medicalnet(network: nn.Module, path: Path) -> None:
    """Put released MedicalNet weights into the backbone of ``network``; the fully connected layer stays as it is.

    Released files hold ``{"state_dict": {"module.conv1.weight": ...}}`` without a decoder, trainer checkpoints the same
    with one (``conv_seg``), which is left out. Nothing in the file is executed.

    Raises
    ------
    FileError
        The file is none of weights, or does not hold exactly this backbone: weights missing, left over, of another
        shape or not finite. The network is as it was.
    """
    released = _read(path)
    backbone = {name: value for name, value in released.items() if not name.startswith("conv_seg.")}
    state = network.state_dict()
    expected = {name: value for name, value in state.items() if not name.startswith("fc.")}
    # Files older than this counter, which nothing here uses, lack it.
    counters = {name: expected[name] for name in expected if name.endswith("num_batches_tracked")}
    wrong = _differences(counters | backbone, expected)
    if wrong:
        raise FileError(f"{path.name}: not the weights of this network: {'; '.join(wrong)}")
    network.load_state_dict(state | counters | backbone, strict=True)


def started(settings: NetworkSettings) -> nn.Module:
    """The network that training starts from, random or with the weights that the settings ask for.

    Raises
    ------
    RunError, FileError
        As `find_weights` and `load_medicalnet`.
    """
    network: nn.Module = build(settings.depth, settings.width, settings.dilated)
    if path := find_weights(settings):
        load_medicalnet(network, path)
    return network


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by their name without the prefix of data-parallel training."""
    with path.open("rb") as file:
        content = load(path.name, file)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        found = type(content).__name__
        raise FileError(f"{path.name}: found a {found}, expected tensors by name, or state_dict of them")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def load(name: str, file: BinaryIO) -> Any:
    """What torch has saved in a file, as long as it is plain data.

    Raises
    ------
    FileError
        It is something else; says what it looks like.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what follows as an error, or is harmless
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        file.seek(0)
        start = file.read(512).lstrip()
        kinds = {
            "an empty file": not start,
            "an HTML page": start.startswith(b"<"),
            "a Git LFS pointer in place of the file": start.startswith(b"version https://git-lfs"),
            "code beside the tensors": "GLOBAL" in str(error),
            "a pickle, which may run code": start.startswith(b"\x80") and isinstance(error, pickle.UnpicklingError),
            "a file cut short or damaged": start.startswith((b"PK", b"\x80")),
        }
        found = next((kind for kind, fits in kinds.items() if fits), "another kind of file")
        raise FileError(f"{name}: found {found}, expected plain tensors as torch saves them; fetch it again") from error


def _differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps one set of tensors from being the other, each kind with its first names."""
    common = [name for name in expected if name in found]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "left over": [name for name in found if name not in expected],
        "of another shape": [
            f"{name} {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
            for name in common
            if found[name].shape != expected[name].shape
        ],
        "not finite": [name for name in common if not torch.isfinite(found[name]).all()],
    }
    return [
        f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for kind, names in kinds.items()
        if names
    ]
