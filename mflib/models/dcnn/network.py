"""The architecture: MedicalNet's 3D residual networks on MONAI's blocks, with one logit.

MedicalNet (Chen, Ma and Zheng 2019, arXiv:1904.00625; ``models/resnet.py`` of github.com/Tencent/MedicalNet) strides
by 2 in its stem, its max pool and layer 2 only. Layers 3 and 4 keep the resolution and dilate every 3 x 3 x 3
convolution by 2 and 4 instead, so the last map has an eighth of the input's extent. ``resnet50(pretrained=True)`` of
MONAI takes the same weights into strides of 2 there and a stem of stride 1, and nothing fails: it is another network.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mflib.base.files import sha256
from mflib.models.dcnn.compute import Depth

if TYPE_CHECKING:
    from monai.networks.nets import ResNet


@dataclass(frozen=True)
class Architecture:
    """One published depth.

    Parameters
    ----------
    block : MONAI's name of the residual block
    blocks : how many of them in layers 1 to 4
    shortcut : "A" pads the identity with zero channels, "B" is a 1 x 1 x 1 convolution
    width : channels of the stem and of layer 1's 3 x 3 x 3 convolutions
    """

    block: Literal["basic", "bottleneck"]
    blocks: tuple[int, int, int, int]
    shortcut: Literal["A", "B"]
    width: int = 64


ARCHITECTURES: dict[int | str, Architecture] = {
    10: Architecture("basic", (1, 1, 1, 1), "B"),
    18: Architecture("basic", (2, 2, 2, 2), "A"),
    34: Architecture("basic", (3, 4, 6, 3), "A"),
    50: Architecture("bottleneck", (3, 4, 6, 3), "B"),
    "small": Architecture("basic", (1, 1, 1, 1), "B", width=16),
}


@dataclass(frozen=True)
class Loaded:
    """What a weights file gave.

    Parameters
    ----------
    file, sha256 : its name and the digest of its content
    tensors, values : how many the network took
    left_out : how many tensors of a decoder the file holds besides
    """

    file: str
    sha256: str
    tensors: int
    values: int
    left_out: int

    def __str__(self) -> str:
        """One sentence for the report."""
        decoder = f", {self.left_out} of its decoder left out" if self.left_out else ""
        return f"{self.file}, {self.tensors} tensors with {self.values:,} values{decoder}, SHA-256 {self.sha256[:12]}"


def build(depth: Depth = 50, width: int | None = None, dilated: bool = True) -> ResNet:
    """A freshly initialised network: (n, 1, ni, nj, nk) volumes in, (n, 1) logits out.

    Parameters
    ----------
    depth : one of MedicalNet's depths, or "small": depth 10 at a quarter of its width, which learns on a laptop
    width : channels of the stem, 64 where None (16 for "small"); layers 2, 3 and 4 have 2, 4 and 8 times as many
    dilated : MedicalNet's layers 3 and 4 (output stride 8); False strides there instead (output stride 32)

    Raises
    ------
    ValueError
        A depth that is not published.
    """
    # MONAI takes many seconds to import. A process that only hands out folds builds no network and needs none of it.
    from monai.networks.nets import ResNet

    if depth not in ARCHITECTURES:
        raise ValueError(f"depth is {depth!r}, expected one of {', '.join(map(repr, ARCHITECTURES))}")
    architecture = ARCHITECTURES[depth]
    network = ResNet(
        block=architecture.block,
        layers=list(architecture.blocks),
        block_inplanes=[(width or architecture.width) * factor for factor in (1, 2, 4, 8)],
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type=architecture.shortcut,
        bias_downsample=False,
        num_classes=1,
    )
    if dilated:
        _dilate(network.layer3, 2)
        _dilate(network.layer4, 4)
    return network


def layers(model: nn.Module, size: tuple[int, int, int]) -> pd.DataFrame:
    """What a volume becomes on its way: layer, output (channels x extent), weights, GFLOP (2 per multiply-add).

    Parameters
    ----------
    model : of `build`
    size : extent of the input in voxels
    """
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


def load_medicalnet(network: nn.Module, path: Path) -> Loaded:
    """Put released MedicalNet weights into the backbone of ``network``; the fully connected layer stays as it is.

    Released files hold ``{"state_dict": {"module.conv1.weight": ...}}`` without a decoder, trainer checkpoints the same
    with one (``conv_seg``), which is left out. Nothing in the file is executed.

    Raises
    ------
    ValueError
        The file cannot be read, or does not hold exactly this backbone: weights missing, left over, of another shape
        or not finite. The network is as it was.
    """
    released = _read(path)
    decoder = [name for name in released if name.startswith("conv_seg.")]
    backbone = {name: value for name, value in released.items() if name not in decoder}
    state = network.state_dict()
    expected = {name: value for name, value in state.items() if not name.startswith("fc.")}
    # Files older than this counter, which nothing here uses, lack it.
    counters = {name: expected[name] for name in expected if name.endswith("num_batches_tracked")}
    wrong = _differences(counters | backbone, expected)
    if wrong:
        raise ValueError(f"{path.name}: not the weights of this network: {'; '.join(wrong)}")
    network.load_state_dict(state | counters | backbone, strict=True)
    values = sum(value.numel() for name, value in backbone.items() if name not in counters)
    return Loaded(path.name, sha256(path), len(backbone), values, len(decoder))


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by their name without the prefix of data-parallel training."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path.name}: cannot be read as plain tensors ({reason})") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path.name}: found {type(content).__name__}, expected tensors by name, or state_dict of them"
        )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


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


def _dilate(layer: nn.Sequential, dilation: int) -> None:
    """Trade the stride of a layer for dilation; no weight changes its shape."""
    for module in layer.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation, dilation, dilation)
    block: Any
    for block in layer:
        if isinstance(block.downsample, partial):  # shortcut A is a function, not a module
            block.downsample = partial(block.downsample.func, **{**block.downsample.keywords, "stride": 1})
