"""Saliency maps against MONAI's, closed forms and brute force; their geometry against spots at known places."""

from __future__ import annotations

import copy
import math
from itertools import product

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn

from mflib.data.preprocess import network_input, zscore
from mflib.models.dcnn import compute, network, saliency
from mflib.models.dcnn.settings import NetworkSettings

SIZE = (32, 40, 16)
RNG = np.random.default_rng(7)
VOLUMES = RNG.normal(size=(3, *SIZE)).astype(np.float32)


def trained(depth: compute.Depth = "small", dilated: bool = True, seed: int = 1) -> nn.Module:
    """A network whose weights and running statistics are not those of the start."""
    torch.manual_seed(seed)
    model = network.build(depth, width=4, dilated=dilated)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model


def blurring(dilated: bool) -> nn.Module:
    """A network of tent-shaped kernels that only blurs and samples its input, and so keeps its centre of mass."""
    model = network.build("small", width=1, dilated=dilated).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            radius = module.kernel_size[0] // 2
            tent = radius + 1 - torch.arange(-radius, radius + 1).abs().float()
            if max(module.dilation) > 1:  # so wide that a spot would be blurred past the border
                tent = (tent == 2).float()
            if radius == 0 and module.stride[0] > 1:  # would favour every other voxel
                tent = torch.zeros(1)
            with torch.no_grad():
                module.weight[:] = torch.einsum("i,j,k->ijk", tent, tent, tent) / 4
        elif isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)
    return model


class Spot(nn.Module):
    """The logit is the mean of one box, and the sum of another with a minus."""

    FOR, AGAINST = np.s_[6:10, 20:24, 8:12], np.s_[20:24, 4:8, 4:8]

    def forward(self, x: Tensor) -> Tensor:
        return (
            x[:, :, *self.FOR].mean(dim=(1, 2, 3, 4))[:, None] - x[:, :, *self.AGAINST].sum(dim=(1, 2, 3, 4))[:, None]
        )


def centre(map: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centre of mass in voxels."""
    grids = np.meshgrid(*(np.arange(n) for n in map.shape), indexing="ij")
    return np.array([(grid * map).sum() for grid in grids]) / map.sum()


def last_map(model: nn.Module, volume: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Map of layer 4 and logit, by a hook on the network's own forward pass."""
    maps: list[Tensor] = []
    handle = model.layer4.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    with torch.no_grad():
        logit = model(torch.from_numpy(volume)[None, None])[0, 0]
    handle.remove()
    return maps[0][0], logit


@pytest.mark.parametrize("dilated", [True, False])
@pytest.mark.parametrize("depth", [10, 18, 50, "small"])
def test_walk_through_the_layers_is_the_networks_own_forward_pass(depth: compute.Depth, dilated: bool) -> None:
    model = trained(depth, dilated).eval()
    volumes = torch.from_numpy(VOLUMES)[:, None]
    with torch.no_grad():
        assert torch.equal(saliency._head(model, saliency._features(model, volumes)), model(volumes))


@pytest.mark.parametrize("dilated", [True, False])
@pytest.mark.parametrize("depth", [18, 50, "small"])
def test_grad_cam_is_its_closed_form(depth: compute.Depth, dilated: bool) -> None:
    model = trained(depth, dilated).eval()
    features, logit = last_map(model, VOLUMES[0])
    # Behind the map are only a mean and one linear layer.
    evidence = torch.einsum("c,cijk->ijk", model.fc.weight[0], features).detach().numpy() / features[0].numel()
    for towards, sign in ((1, 1), (0, -1)):
        found = saliency.grad_cam(model, VOLUMES[0], towards)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.maximum(sign * evidence, 0), rtol=1e-4, atol=1e-7)
    split = saliency.grad_cam(model, VOLUMES[0]).sum() - saliency.grad_cam(model, VOLUMES[0], 0).sum()
    assert split == pytest.approx(float(logit) - model.fc.bias.item(), rel=1e-4)


def test_grad_cam_is_monais() -> None:
    """MONAI 1.6: ``monai.visualize.GradCAM``, before its resampling and normalisation."""
    model = trained().eval()
    found = [saliency.grad_cam(model, volume) for volume in VOLUMES]
    peer = GradCAM(copy.deepcopy(model), target_layers="layer4")
    expected = [peer.compute_map(torch.from_numpy(v)[None, None], class_idx=0)[0, 0].detach().numpy() for v in VOLUMES]
    assert any(map.any() for map in found)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_the_model_comes_back_as_it_was() -> None:
    model = trained().eval()
    for parameter in model.conv1.parameters():
        parameter.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    flags = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        saliency.grad_cam(model, VOLUMES[0])
    saliency.occlusion(model, VOLUMES[0], 16)
    saliency.weight_check(model, VOLUMES[:1], 0)
    assert [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()] == flags
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_frozen_network_and_a_volume_that_runs_backwards_give_the_same_map() -> None:
    model = trained().eval()
    expected = saliency.grad_cam(model, VOLUMES[0])
    # A view that runs backwards is what a mirrored volume is.
    backwards = VOLUMES[0, ::-1].copy()[::-1]
    np.testing.assert_array_equal(saliency.grad_cam(model.requires_grad_(False), backwards), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("dilated", "stride", "voxels"), [(True, 8, 137), (True, 8, 128), (False, 32, 400)])
def test_a_spot_is_found_where_it_is(axis: int, dilated: bool, stride: int, voxels: int) -> None:
    model, extent = blurring(dilated), 16 * stride if dilated else 8 * stride
    size, shape = np.array([8, 8, 8]), np.array([5, 5, 5])
    size[axis], shape[axis] = extent, voxels
    off = []
    # Over a whole stride what the sampling loses cancels out, and a tenth of a voxel of shift would show.
    for place in range(extent // 2 - stride // 2, extent // 2 + stride // 2):
        volume = np.zeros(size, np.float32)
        volume[tuple(place if a == axis else 4 for a in range(3))] = 1000
        found = saliency.to_shape(saliency.grad_cam(model, volume), tuple(size), tuple(shape))
        assert found.shape == tuple(shape)
        off.append(centre(found)[axis] - ((place + 0.5) * voxels / extent - 0.5))
    assert np.mean(off) == pytest.approx(0, abs=0.05 * voxels / extent)
    assert np.abs(off).max() < 0.15 * stride * voxels / extent


@pytest.mark.parametrize("extent_mm", [None, (50.0, 30.0, 30.0), (40.0, 40.0, 26.0)])
def test_a_spot_in_the_region_of_interest_comes_back_through_resize_and_network(
    extent_mm: tuple[float, float, float] | None,
) -> None:
    model, shape, step = blurring(dilated=True), (90, 70, 52), (0.5, 0.5, 0.5)
    settings = NetworkSettings(size=(64, 64, 56), extent_mm=extent_mm)
    off = []
    for shift in product((0, 4, 8), repeat=3):
        place = np.array((42, 30, 22)) + shift
        voxels = np.full(shape, 20, np.uint8)
        voxels[tuple(slice(p - 1, p + 2) for p in place)] = 255
        seen = network_input(zscore(voxels), settings.size, step, settings.extent_mm)
        found = saliency.on_region(saliency.grad_cam(model, seen), settings, shape, step)
        assert found.shape == shape
        off.append(centre(found) - place)
    assert np.abs(np.mean(off, axis=0)).max() < 0.5
    assert np.abs(off).max() < 1.5


def test_to_shape_keeps_values_between_those_of_the_map() -> None:
    map = RNG.random((4, 5, 2)).astype(np.float32)
    same = saliency.to_shape(map, SIZE, SIZE)
    np.testing.assert_allclose(same[::8, ::8, ::8], map, rtol=1e-6)
    np.testing.assert_allclose(same[28:, 36:, 12:], map[-1, -1, -1], rtol=1e-6)  # goes on as it ends
    assert same.dtype == np.float32
    assert saliency.to_shape(np.full((1, 2, 1), 3, np.float32), SIZE, (7, 9, 5)) == pytest.approx(3)
    with pytest.raises(ValueError, match=r"map of \(4, 5, 3\) voxels for an input of \(32, 40, 16\)"):
        saliency.to_shape(np.zeros((4, 5, 3), np.float32), SIZE, SIZE)


@pytest.mark.parametrize(("size", "cube"), [((16, 17, 9), 8), ((10, 8, 11), 5), ((8, 9, 8), 7)])
def test_occlusion_is_brute_force(size: tuple[int, int, int], cube: int) -> None:
    model = trained().eval()
    volume = RNG.normal(size=size).astype(np.float32)
    found = saliency.occlusion(model, volume, cube)

    def logit(voxels: NDArray[np.float32]) -> float:
        with torch.no_grad():
            return float(model(torch.from_numpy(voxels)[None, None]))

    total, count = np.zeros(size), np.zeros(size)
    whole = logit(volume)
    starts = [sorted({min(s, n - cube) for s in range(0, n, cube // 2)}) for n in size]
    for i, j, k in product(*starts):
        hidden = volume.copy()
        hidden[i : i + cube, j : j + cube, k : k + cube] = 0
        total[i : i + cube, j : j + cube, k : k + cube] += whole - logit(hidden)
        count[i : i + cube, j : j + cube, k : k + cube] += 1
    assert count.min() >= 1
    np.testing.assert_allclose(found, total / count, rtol=1e-3, atol=1e-6)


def test_occlusion_finds_the_spot_that_decides() -> None:
    found = saliency.occlusion(Spot(), np.ones(SIZE, np.float32), cube=4)
    assert found.max() == found[Spot.FOR].max() == 0.75**3  # along each axis one cube hides all, the next half
    assert found.min() == found[Spot.AGAINST].min() == -64 * 0.75**3
    away = np.ones(SIZE, bool)
    for i, j, k in (Spot.FOR, Spot.AGAINST):
        away[i.start - 3 : i.stop + 3, j.start - 3 : j.stop + 3, k.start - 3 : k.stop + 3] = False
    assert not found[away].any()


def test_maps_without_a_depth_in_common_are_refused() -> None:
    for maps, depths in (([], r"\[\]"), ([np.ones((2, 3, 2)), np.ones((2, 4, 2))], r"\[3, 4\]")):
        with pytest.raises(ValueError, match=f"have {depths} voxels in depth"):
            saliency.by_depth(maps)


def test_share_is_the_part_of_the_positive_values_inside() -> None:
    map = RNG.normal(size=SIZE).astype(np.float32)
    mask = RNG.random(SIZE) < 0.3
    inside = saliency.share(map, mask)
    assert inside == pytest.approx(map[mask & (map > 0)].sum() / map[map > 0].sum(), rel=1e-5)
    assert inside + saliency.share(map, ~mask) == pytest.approx(1)
    assert saliency.share(5 * map, mask) == pytest.approx(inside)
    assert saliency.share(np.full(SIZE, 0.1, np.float32), mask) == pytest.approx(mask.mean())


def test_similarity_looks_at_ranks_alone() -> None:
    a, b = RNG.normal(size=(2, 6, 7, 5)).astype(np.float32)
    assert saliency.similarity(a, np.exp(2 * a)) == pytest.approx(1)
    assert saliency.similarity(a, -a) == pytest.approx(-1)
    assert saliency.similarity(a, b) == saliency.similarity(b, a)
    assert abs(saliency.similarity(a, b)) < 0.2
    # 1 - 6 sum(d^2) / (n (n^2 - 1)) without ties
    ranks = [map.ravel().argsort().argsort() for map in (a, b)]
    n = a.size
    expected = 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (n * (n**2 - 1))
    assert saliency.similarity(a, b) == pytest.approx(expected)
    assert saliency.similarity(a, np.zeros_like(a)) == saliency.similarity(np.ones_like(a), np.zeros_like(a)) == 0


def test_cascade_forgets_from_the_top_and_nothing_else() -> None:
    model = trained().train()
    state = copy.deepcopy(model.state_dict())
    names, forgotten = ["fc", "layer4", "layer3", "layer2", "layer1", "conv1"], set()
    torch.manual_seed(3)
    expected_draw = torch.rand(1)
    torch.manual_seed(3)
    for step, (name, changed) in enumerate(saliency.randomised(model, seed=5)):
        assert name == names[step]
        assert not any(module.training for module in changed.modules())
        forgotten |= {name, "bn1"} if name == "conv1" else {name}
        for key, value in changed.state_dict().items():
            part = key.split(".")[0]
            if not value.is_floating_point() or key == "fc.bias":
                continue
            assert torch.equal(value, state[key]) == (part not in forgotten), key
    assert step == len(names) - 1
    assert torch.equal(torch.rand(1), expected_draw)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.training


def test_cascade_draws_as_a_new_network_does_and_by_its_seed() -> None:
    model = trained(seed=2)
    *_, (_, last) = saliency.randomised(model, 5)
    *_, (_, again) = saliency.randomised(model, 5)
    *_, (_, other) = saliency.randomised(model, 6)
    tops = [last.get_parameter(f"layer{n}.0.conv1.weight").detach().flatten()[:500] for n in (3, 4)]
    assert abs(np.corrcoef(torch.stack(tops))[0, 1]) < 0.2  # not one stream of numbers for all layers
    fresh, drawn = network.build("small", width=4).state_dict(), last.state_dict()
    assert all(torch.equal(drawn[key], value) for key, value in again.state_dict().items())
    assert not torch.equal(drawn["layer4.0.conv1.weight"], other.state_dict()["layer4.0.conv1.weight"])
    for key, value in fresh.items():
        if value.ndim == 5:  # Kaiming normal by what goes out of a convolution, within four standard errors
            expected = math.sqrt(2 / (value.shape[0] * value[0, 0].numel()))
            assert float(drawn[key].std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * value.numel())), key
        elif key != "fc.weight":
            assert torch.equal(drawn[key], value), key
    assert drawn["fc.weight"].abs().max() <= 1 / math.sqrt(32)


def test_weight_check_compares_each_step_with_the_original() -> None:
    model = trained().eval()
    table = saliency.weight_check(model, VOLUMES[:2], 4)
    assert list(table.columns) == ["randomised", "volume", "similarity"]
    assert len(table) == 12
    assert table["similarity"].between(-1, 1).all()
    steps = dict(saliency.randomised(model, 4))
    row = table.query("randomised == 'layer3' and volume == 1")["similarity"].item()
    maps = (saliency.grad_cam(m, VOLUMES[1]) for m in (model, steps["layer3"]))
    assert row == saliency.similarity(*maps)


def test_stability_is_the_mean_over_pairs_of_networks() -> None:
    models = [trained(seed=n).eval() for n in (1, 2, 3)]
    table = saliency.stability(models, VOLUMES[:2])
    assert list(table["volume"]) == [0, 1]
    a, b, c = (saliency.grad_cam(model, VOLUMES[1]) for model in models)
    pairs = [saliency.similarity(a, b), saliency.similarity(a, c), saliency.similarity(b, c)]
    assert table["similarity"][1] == pytest.approx(np.mean(pairs))
    assert saliency.stability([models[0]] * 3, VOLUMES[:1])["similarity"].item() == pytest.approx(1)


def test_depth_profile_weighs_every_map_alike() -> None:
    shallow, deep = np.zeros((2, 3, 4, 2), np.float32)
    shallow[:, 0], deep[1, 3, 0] = 0.5, 100
    deep[0, 1] = -7
    found = saliency.by_depth([shallow, deep, np.zeros_like(deep)])
    np.testing.assert_allclose(found, [0.5, 0, 0, 0.5])
