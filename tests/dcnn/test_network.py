"""The network against a plain implementation of the published one, and against published counts."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mflib.dcnn import network

DEPTHS = [10, 18, 34, 50, "small"]
BLOCKS = {
    10: (1, [1, 1, 1, 1]),
    18: (1, [2, 2, 2, 2]),
    34: (1, [3, 4, 6, 3]),
    50: (4, [3, 4, 6, 3]),
    "small": (1, [1, 1, 1, 1]),
}


class Block(nn.Module):
    """A residual block, written from He et al. 2016 (figures 2 and 5) and MedicalNet's dilations."""

    def __init__(self, channels: int, planes: int, expansion: int, stride: int, dilation: int, shortcut: str) -> None:
        super().__init__()
        self.stride, self.padded = stride, planes * expansion - channels
        wide = {"kernel_size": 3, "padding": dilation, "dilation": dilation, "bias": False}
        if expansion == 1:
            first, second = nn.Conv3d(channels, planes, stride=stride, **wide), nn.Conv3d(planes, planes, **wide)
        else:
            first = nn.Conv3d(channels, planes, 1, bias=False)
            second = nn.Conv3d(planes, planes, stride=stride, **wide)
            self.conv3, self.bn3 = nn.Conv3d(planes, planes * 4, 1, bias=False), nn.BatchNorm3d(planes * 4)
        self.conv1, self.bn1, self.conv2, self.bn2 = first, nn.BatchNorm3d(planes), second, nn.BatchNorm3d(planes)
        if shortcut == "B" and (stride > 1 or self.padded):
            projection = nn.Conv3d(channels, planes * expansion, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(planes * expansion))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "conv3"):
            y = self.bn3(self.conv3(F.relu(y)))
        if hasattr(self, "downsample"):
            return F.relu(y + self.downsample(x))
        step = self.stride
        return F.relu(y + F.pad(x[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.padded)))


class Published(nn.Module):
    """MedicalNet's encoder, global average pooling and one logit."""

    def __init__(self, depth: int | str, width: int, dilated: bool) -> None:
        super().__init__()
        expansion, blocks = BLOCKS[depth]
        strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
        shortcut = "A" if depth in (18, 34) else "B"
        self.conv1, self.bn1 = nn.Conv3d(1, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm3d(width)
        channels = width
        for layer, (count, stride, dilation) in enumerate(zip(blocks, strides, dilations, strict=True)):
            members = []
            for number in range(count):
                planes, step = width * 2**layer, stride if number == 0 else 1
                members.append(Block(channels, planes, expansion, step, dilation, shortcut))
                channels = planes * expansion
            setattr(self, f"layer{layer + 1}", nn.Sequential(*members))
        self.fc = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3, 4)))


def trained(model: nn.Module) -> nn.Module:
    """The model in evaluation with weights and running statistics that are not those of the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


@pytest.mark.parametrize("dilated", [True, False])
@pytest.mark.parametrize(("depth", "width"), [(10, 64), (18, 24), (34, 8), (50, 16), ("small", 16)])
def test_outputs_are_those_of_the_published_architecture(depth: int | str, width: int, dilated: bool) -> None:
    torch.manual_seed(1)
    model = trained(network.build(depth, width, dilated))
    published = Published(depth, width, dilated).eval()
    published.load_state_dict(model.state_dict(), strict=True)
    volumes = torch.randn(2, 1, 32, 40, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(volumes), published(volumes), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dilated", "expected"), [(True, (4, 5, 2)), (False, (1, 2, 1))])
def test_last_map_has_stride_8_dilated_and_32_strided(dilated: bool, expected: tuple[int, ...]) -> None:
    model = network.build("small", dilated=dilated).eval()
    maps: list[Tensor] = []
    model.layer4.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    model(torch.zeros(1, 1, 32, 40, 16))
    assert tuple(maps[0].shape[2:]) == expected


@pytest.mark.parametrize(("depth", "millions"), [(10, 14.36), (18, 32.99), (34, 63.31), (50, 46.21)])
def test_backbone_has_the_published_size(depth: int, millions: float) -> None:
    """MedicalNet's README counts weights and running statistics of the backbone."""
    with torch.device("meta"):
        state = network.build(depth).state_dict()
    counts = {name: value.numel() for name, value in state.items() if not name.startswith("fc.")}
    assert round(sum(counts.values()) / 1e6, 2) == millions
    if depth == 50:
        assert sum(n for name, n in counts.items() if "running" not in name and "tracked" not in name) == 46_155_072


def test_small_network_has_900_thousand_parameters() -> None:
    assert sum(p.numel() for p in network.build("small").parameters()) == pytest.approx(0.90e6, rel=0.01)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_wide_convolution_of_layers_3_and_4_is_dilated(depth: network.Depth) -> None:
    with torch.device("meta"):
        model = network.build(depth)
    for layer, dilation in ((model.layer1, 1), (model.layer2, 1), (model.layer3, 2), (model.layer4, 4)):
        wide = [m for m in layer.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
        assert wide
        assert {m.dilation for m in wide} == {m.padding for m in wide} == {(dilation,) * 3}


@pytest.mark.parametrize("depth", [18, 50, "small"])
def test_gradient_reaches_every_parameter(depth: network.Depth) -> None:
    torch.manual_seed(2)
    model = network.build(depth, width=8)
    model(torch.randn(2, 1, 32, 32, 16)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_released_weights_fill_the_backbone_and_leave_the_head(tmp_path: Path) -> None:
    source, target = trained(network.build(10, width=8)), network.build(10, width=8)
    head = target.fc.weight.clone()
    released = {f"module.{name}": value for name, value in source.state_dict().items() if not name.startswith("fc.")}
    released["module.conv_seg.0.weight"] = torch.zeros(3)
    torch.save({"state_dict": released}, tmp_path / "resnet_10.pth")
    network.load_medicalnet(target, tmp_path / "resnet_10.pth")
    loaded = target.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in source.state_dict().items() if "fc." not in name)
    assert torch.equal(target.fc.weight, head)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(network.build(18, width=8).state_dict(), tmp_path / "resnet_18.pth")
    with pytest.raises(ValueError, match=r"resnet_18\.pth: not the weights of this network"):
        network.load_medicalnet(network.build(10, width=8), tmp_path / "resnet_18.pth")


def test_unpublished_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 19, expected one of 10, 18, 34, 50, 'small'"):
        network.build(19)
