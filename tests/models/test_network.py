"""The network against a plain implementation of the published one, and against published counts."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from mflib.models.dcnn import network
from mflib.models.dcnn.settings import Depth

LAYERS = ("layer1", "layer2", "layer3", "layer4")
STORED = Path(__file__).with_name("expected_features.json")
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

    def maps(self, x: Tensor) -> dict[str, Tensor]:
        """The feature map of every layer."""
        found = {"conv1": self.conv1(x)}
        x = F.max_pool3d(F.relu(self.bn1(found["conv1"])), 3, stride=2, padding=1)
        for name in LAYERS:
            x = found[name] = getattr(self, name)(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.maps(x)["layer4"].mean(dim=(2, 3, 4)))


def fill(model: nn.Module) -> nn.Module:
    """Weights and running statistics that are the same on every machine, in the order of the published names."""
    rng = np.random.default_rng(1904)
    for name, value in model.state_dict().items():
        if value.dtype == torch.int64:
            continue
        fan = max(1, value[0].numel()) if value.ndim == 5 else 1
        drawn = rng.normal(0, np.sqrt(2 / fan), value.shape) if value.ndim == 5 else rng.uniform(0.5, 1.5, value.shape)
        value.copy_(torch.from_numpy(drawn if not name.endswith(("bias", "running_mean")) else drawn - 1))
    return model.eval()


def released(model: nn.Module, path: Path, **more: Tensor) -> Path:
    """The backbone in the layout of the released files."""
    backbone = {f"module.{name}": value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    torch.save({"state_dict": backbone | more}, path)
    return path


def maps_of(model: nn.Module, volumes: Tensor) -> dict[str, Tensor]:
    """The feature map of every layer of our network."""
    found: dict[str, Tensor] = {}
    for name in ("conv1", *LAYERS):
        getattr(model, name).register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output}))
    with torch.no_grad():
        model(volumes)
    return found


def monais(depth: Depth, width: int, dilated: bool) -> nn.Module:
    """MONAI 1.6's residual network, which strides in layers 3 and 4; dilated, its convolutions are changed in place."""
    expansion, blocks = BLOCKS[depth]
    model = ResNet(
        block="basic" if expansion == 1 else "bottleneck",
        layers=blocks,
        block_inplanes=[width * factor for factor in (1, 2, 4, 8)],
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type="A" if depth in (18, 34) else "B",
        bias_downsample=False,
        num_classes=1,
    )
    for layer, dilation in ((model.layer3, 2), (model.layer4, 4)) if dilated else ():
        for module in layer.modules():
            if isinstance(module, nn.Conv3d):
                module.stride = (1, 1, 1)
                if module.kernel_size == (3, 3, 3):
                    module.dilation = module.padding = (dilation,) * 3
        shortcut = layer[0].downsample
        if isinstance(shortcut, partial):
            layer[0].downsample = partial(shortcut.func, **shortcut.keywords | {"stride": 1})
    return model


def descended(model: nn.Module, volumes: Tensor) -> list[Tensor]:
    """Logits and gradients of two steps in training, and the logits after them."""
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(2):
        logits = model.train()(volumes)
        model.zero_grad()
        F.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([0.0, 1.0], dtype=volumes.dtype)).backward()
        found += [logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
        optimizer.step()
    with torch.no_grad():
        return [*found, model.eval()(volumes)]


def volumes() -> Tensor:
    return torch.from_numpy(np.random.default_rng(7).standard_normal((2, 1, 40, 32, 24)).astype(np.float32))


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


def test_pooling_by_places_is_torchs_own() -> None:
    # Of equal values, as after a ReLU, both must take the same.
    x = torch.randn(2, 3, 9, 12, 7, dtype=torch.float64).relu().round(decimals=1).requires_grad_()
    weight = torch.randn(2, 3, 5, 6, 4, dtype=torch.float64)
    made = {pool: pool(x) for pool in (network.gathered, network.Pool())}
    one, other = ((out, *torch.autograd.grad((out * weight).sum(), x)) for out in made.values())
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dilated", [True, False])
@pytest.mark.parametrize("depth", DEPTHS)
def test_same_seed_same_training_as_with_monai(depth: Depth, dilated: bool) -> None:
    """Stored networks were made with MONAI 1.6.1's blocks; without taps that only meet padding sums round otherwise."""
    torch.manual_seed(3)
    theirs = monais(depth, 8, dilated)
    drawn_next = torch.rand(1)
    torch.manual_seed(3)
    ours = network.build(depth, 8, dilated)
    assert torch.equal(torch.rand(1), drawn_next)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(found) == list(expected)
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []
    # In double precision, since batch normalisation of a few voxels makes much of a last digit.
    pairs = zip(*(descended(model.double(), volumes().double()) for model in (ours, theirs)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


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
def test_every_wide_convolution_of_layers_3_and_4_is_dilated(depth: Depth) -> None:
    with torch.device("meta"):
        model = network.build(depth)
    for layer, dilation in ((model.layer1, 1), (model.layer2, 1), (model.layer3, 2), (model.layer4, 4)):
        wide = [m for m in layer.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
        assert wide
        assert {m.dilation for m in wide} == {m.padding for m in wide} == {(dilation,) * 3}


@pytest.mark.parametrize("depth", [18, 50, "small"])
def test_gradient_reaches_every_parameter(depth: Depth) -> None:
    torch.manual_seed(2)
    model = network.build(depth, width=8)
    model(torch.randn(2, 1, 32, 32, 16)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_released_weights_give_the_published_maps(depth: Depth, tmp_path: Path) -> None:
    width = {10: 64, 18: 32, 34: 16, 50: 16}[depth]
    published, model = fill(Published(depth, width, True)), network.build(depth, width)
    head = model.fc.weight.clone()
    network.load_medicalnet(model, released(published, tmp_path / "resnet.pth"))
    assert torch.equal(model.fc.weight, head)
    # In double precision, in which sums without the taps that only meet padding are the same.
    ours = maps_of(model.eval().double(), volumes().double())
    with torch.no_grad():
        theirs = published.double().maps(volumes().double())
    for name, values in theirs.items():
        torch.testing.assert_close(ours[name], values, rtol=1e-9, atol=1e-9)


def test_features_are_those_that_the_plain_network_once_gave(tmp_path: Path) -> None:
    """Stored, so that a change in a library that moves both implementations alike is seen too."""
    model = network.build(50, 8)
    network.load_medicalnet(model, released(fill(Published(50, 8, True)), tmp_path / "resnet_50.pth"))
    pooled = maps_of(model.eval(), volumes())["layer4"].mean(dim=(2, 3, 4))
    torch.testing.assert_close(pooled, torch.tensor(json.loads(STORED.read_text())), rtol=1e-4, atol=1e-5)


def test_a_decoder_is_left_out_and_counters_may_be_missing(tmp_path: Path) -> None:
    source, target = fill(Published(10, 8, True)), network.build(10, 8)
    decoder = {"module.conv_seg.0.weight": torch.zeros(3), "module.conv_seg.1.bias": torch.zeros(2)}
    path = released(source, tmp_path / "resnet_10.pth", **decoder)
    content = torch.load(path, weights_only=True)["state_dict"]
    torch.save({k: v for k, v in content.items() if not k.endswith("num_batches_tracked")}, path)
    network.load_medicalnet(target, path)
    assert torch.equal(target.layer4[0].conv2.weight, source.layer4[0].conv2.weight)


class Harmful:
    """Would make a file wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def without(content: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: without(s, "module.layer3.0.bn2.weight"), r"1 missing \(layer3\.0\.bn2\.weight\)$"),
        (lambda s: s | {"module.extra": torch.zeros(1)}, r"1 left over \(extra\)$"),
        (
            lambda s: s | {"module.conv1.weight": s["module.conv1.weight"][:4]},
            r"1 of another shape \(conv1\.weight \(4,",
        ),
        (lambda s: s | {"module.bn1.bias": s["module.bn1.bias"] * np.nan}, r"1 not finite \(bn1\.bias\)$"),
        (lambda s: {}, r"missing \(conv1\.weight, bn1\.weight"),
        (lambda s: {"module.conv1.weight": "text"}, r"found a dict, expected tensors by name"),
        (lambda s: Published(10, 16, True).state_dict(), r"of another shape \(conv1\.weight \(16, 1"),
        (lambda s: without(Published(18, 8, True).state_dict(), "fc.weight"), r"9 missing|left over \(layer1\.1"),
        (lambda s: network.build(50, 8).state_dict(), r"left over .*of another shape"),
    ],
)
def test_files_that_are_not_this_network_are_refused(spoil, message: str, tmp_path: Path) -> None:
    model = network.build(10, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    content = {f"module.{k}": v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    torch.save({"state_dict": spoil(content)}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=rf"^wrong\.pth: .*{message}"):
        network.load_medicalnet(model, tmp_path / "wrong.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_half_a_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = released(Published(10, 8, True), tmp_path / "half.pth")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"half\.pth: found .*, expected plain tensors"):
        network.load_medicalnet(network.build(10, 8), path)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.conv1.weight": Harmful(tmp_path / "done")}}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth: found .*, expected plain tensors"):
        network.load_medicalnet(network.build(10, 8), tmp_path / "bad.pth")
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(("depth", "dilated", "gflop"), [(50, True, 207.9), (50, False, 40.5), (10, True, 70.8)])
def test_layers_are_those_of_a_pass(depth: Depth, dilated: bool, gflop: float) -> None:
    """GFLOP of one volume of 128 x 128 x 64 were counted with the original code."""
    with torch.device("meta"):
        model = network.build(depth, dilated=dilated)
    table = network.layers(model, (128, 128, 64)).set_index("layer")
    assert table["weights"].sum() == sum(p.numel() for p in model.parameters()) - 128  # those of the first norm
    assert table["GFLOP"].sum() == pytest.approx(gflop, rel=0.01)
    small = network.build(depth, 8, dilated)
    maps = maps_of(small.eval(), torch.zeros(1, 1, 32, 40, 16))
    shapes = network.layers(small, (32, 40, 16)).set_index("layer")["output"]
    assert {name: shapes[name] for name in maps} == {n: " x ".join(map(str, m.shape[1:])) for n, m in maps.items()}
