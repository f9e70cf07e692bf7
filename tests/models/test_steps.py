"""What a step is fed and how it is computed: batches, augmentation, rates, precision."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mflib.base.errors import RunError
from mflib.models.dcnn import compute, network, training
from mflib.models.dcnn.fold import load_network, train_fold
from mflib.models.dcnn.inputs import Task
from tests.models.toy import FOLD, LABELS, QUICK, same_weights, textures, weights

INPUTS = textures()
# What a child runs before its first step, but for the optimiser, which brings torch's compiler whatever one does.
START = """
import json, sys
from mflib.models.dcnn import compute, fold, network
with compute.reproducible():
    network.build("small", width=1)
print(json.dumps(sorted(sys.modules)))
"""


class Reluctant:
    """Volumes that are read the slower the sooner they are asked for, and remember who read them."""

    def __init__(self) -> None:
        self.readers: set[str] = set()

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, position: int) -> NDArray[np.float32]:
        time.sleep(0.02 / (1 + position))
        self.readers.add(threading.current_thread().name)
        return INPUTS[position]


def test_volumes_come_in_their_order_and_are_read_by_others() -> None:
    volumes, order = Reluctant(), np.array([5, 0, 3, 90, 1, 2, 7])
    read = torch.cat(list(compute.scoring_batches(volumes, order, QUICK))).cpu()
    assert torch.equal(read, torch.from_numpy(INPUTS[order]))
    assert threading.current_thread().name not in volumes.readers


def test_changes_are_flips_of_whole_batches() -> None:
    settings = replace(QUICK, flips=(0, 2))
    drawn = list(compute.training_batches(INPUTS, LABELS, FOLD.train[:-2], np.random.default_rng(3), settings))
    assert [len(truth) for _, truth in drawn] == [4] * 11
    flips = {np.flip(INPUTS[n], axes).tobytes(): (n, axes) for n in FOLD.train for axes in [(), (0,), (2,), (0, 2)]}
    seen, used = set(), set()
    for volumes, truth in drawn:
        for found, label in zip(volumes.cpu().numpy(), truth.cpu().numpy(), strict=True):
            position, axes = flips[found.tobytes()]
            assert LABELS[position] == label
            seen.add(axes)
            used.add(position)
    assert seen == {(), (0,), (2,), (0, 2)}
    assert len(used) == 44
    again = list(compute.training_batches(INPUTS, LABELS, FOLD.train[:-2], np.random.default_rng(3), settings))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(drawn, again, strict=True))


def test_head_and_backbone_have_rates_of_their_own(tmp_path: Path) -> None:
    still = replace(QUICK, head_factor=1e-30)
    for epochs in (1, 3):
        train_fold(Task(INPUTS, LABELS, FOLD, replace(still, epochs=epochs), tmp_path / str(epochs)))
    one, three = weights(tmp_path / "1"), weights(tmp_path / "3")
    assert torch.equal(one["fc.weight"], three["fc.weight"])
    assert not torch.equal(one["conv1.weight"], three["conv1.weight"])


def test_training_starts_from_the_given_weights(tmp_path: Path) -> None:
    source = network.build("small", width=4)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in source.state_dict().items() if "fc." not in k}}, tmp_path / "w.pth"
    )
    settings = replace(QUICK, pretrained="required", weights=str(tmp_path / "w.pth"), learning_rate=1e-30, epochs=1)
    train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path / "warm"))
    train_fold(Task(INPUTS, LABELS, FOLD, replace(settings, pretrained="if-present"), tmp_path / "present"))
    assert torch.equal(weights(tmp_path / "warm")["layer4.0.conv1.weight"], source.layer4[0].conv1.weight)
    assert same_weights(tmp_path / "warm", tmp_path / "present")
    cold = replace(settings, pretrained="none", weights="")
    train_fold(Task(INPUTS, LABELS, FOLD, cold, tmp_path / "warm"))  # other weights are another fold: trained again
    assert not same_weights(tmp_path / "warm", tmp_path / "present")


def test_rounded_training_on_a_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There torch 2.13 sometimes gives what happened to be in memory for a gradient."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="training in bfloat16 needs a GPU, found none; set precision: float32"):
        train_fold(Task(INPUTS, LABELS, FOLD, replace(QUICK, precision="bfloat16"), tmp_path))


class Broken(nn.Module):
    """A kernel that is wrong where it is asked to round, as some releases of cuDNN had."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16 * 16 * 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        wrong = torch.is_autocast_enabled(x.device.type)
        return self.fc(x.flatten(1).flip(1) if wrong else x.flatten(1))


def test_wrong_rounded_arithmetic_is_an_error() -> None:
    settings = replace(QUICK, precision="bfloat16")
    rng = np.random.default_rng(2)
    volumes = torch.from_numpy(rng.standard_normal((4, 48, 48, 24), dtype=np.float32))
    volumes, truth = volumes.to(compute.device()), torch.tensor([0.0, 1.0, 0.0, 1.0], device=compute.device())
    model = network.build("small", width=4).to(compute.device())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compute.compare_gradients(model, volumes, truth, settings)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RunError, match=r"in bfloat16 has a cosine of -?0\.\d+ to that in float32 \(.*0\.9"):
        broken = Broken().to(compute.device())
        compute.compare_gradients(broken, torch.from_numpy(INPUTS[:4]).to(compute.device()), truth, settings)


def test_settings_of_torch_are_given_back() -> None:
    def settings() -> tuple[object, ...]:
        precisions = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), *precisions

    before = settings()
    with pytest.raises(ZeroDivisionError), compute.reproducible():
        assert settings() == (1, True, "ieee", "ieee")
        raise ZeroDivisionError
    assert settings() == before


def test_a_finished_fold_can_be_loaded(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=1)
    result = train_fold(Task(INPUTS, LABELS, FOLD, settings, tmp_path))
    with torch.no_grad():
        scores = load_network(tmp_path, settings)(torch.from_numpy(INPUTS[FOLD.test])[:, None]).sigmoid()[:, 0]
    np.testing.assert_allclose(scores.numpy(), result.test, atol=1e-5)


def test_a_child_imports_nothing_that_its_first_step_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=120, check=True)
    heavy = {"jsonschema", "monai", "pandas", "pandera", "skimage", "sklearn", "torch._dynamo"}
    assert heavy & set(json.loads(done.stdout)) == set()


def test_there_is_a_process_for_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert training.places(replace(QUICK, workers=3)) == [{}]  # no more than there are cores for
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert training.places(QUICK) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert training.places(QUICK) == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
