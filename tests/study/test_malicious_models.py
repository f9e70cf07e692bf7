"""Files that somebody has made to run code, to fill the memory, or to lead out of an array."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer

from mflib.base.errors import FileError
from mflib.study import kept as stored
from mflib.study import predict

FOREST, NETWORK = "random_forest_fold-1.skops", "dcnn_fold-1.pt"
Copied = Callable[[], Path]


class Payload:
    """What a pickle runs when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def change(run: Path, of: str, **changes: Any) -> None:
    """Change entries of a manifest; ``a__0__b`` leads inside."""
    path = run / "artifacts" / stored.MANIFESTS[of]
    content = json.loads(path.read_text())
    for name, value in changes.items():
        *way, last = (int(part) if part.isdigit() else part for part in name.split("__"))
        place: Any = content
        for part in way:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(content))


def exchange(run: Path, file: str, content: bytes) -> None:
    """Put other bytes into a model file, and make the manifest agree, as somebody would who means harm."""
    (run / "artifacts" / file).write_bytes(content)
    change(run, "random_forest" if file == FOREST else "dcnn", folds__0__sha256=hashlib.sha256(content).hexdigest())


def skops_bytes(content: Any) -> bytes:
    buffer = BytesIO()
    skops.io.dump(content, buffer)
    return buffer.getvalue()


def torch_bytes(content: Any) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def bomb(names: list[str]) -> bytes:
    """A few kilobytes that become 64 MiB."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, bytes(2**26))
    assert len(buffer.getvalue()) < 2**18
    return buffer.getvalue()


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    loaded: dict[str, np.ndarray] = skops.io.load(run / "artifacts" / FOREST)
    return loaded


@pytest.mark.parametrize("file", [FOREST, NETWORK])
def test_nothing_in_a_file_is_ever_run(copied: Copied, tmp_path: Path, file: str) -> None:
    run, target = copied(), tmp_path / "was-run"
    pickled = pickle.dumps(Payload(target))
    archived = torch_bytes(Payload(target))
    pickle.loads(pickled)
    assert target.exists(), "the payload does work where it is let"
    target.unlink()
    for content in (pickled, archived):
        exchange(run, file, content)
        with pytest.raises(FileError, match=file):
            predict.load(run)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (FunctionTransformer(os.system), "posix.system"),
        # What skops trusts without being asked is refused as well: its trees are followed without a look.
        (RandomForestClassifier(2).fit(np.eye(4), [0, 1, 0, 1]), "sklearn.ensemble._forest.RandomForestClassifier"),
        ({"feature": np.sin}, "numpy.sin"),
        ({"feature": [1, 2]}, "loader JsonNode"),
        ({"feature": np.zeros(3)}, "one-dimensional arrays"),
    ],
)
def test_a_skops_file_of_anything_but_a_forests_arrays_is_refused(copied: Copied, content: Any, named: str) -> None:
    run = copied()
    exchange(run, FOREST, skops_bytes(content))
    with pytest.raises(FileError, match=f"{FOREST}.*{named}"):
        predict.load(run)


@pytest.mark.parametrize("file", [FOREST, NETWORK])
def test_a_bomb_is_not_unpacked(copied: Copied, file: str) -> None:
    run = copied()
    exchange(run, file, bomb(["schema.json", "archive/data.pkl"]))
    with pytest.raises(FileError, match=f"{file}: found 2 parts of 134,217,728 bytes.* compressed"):
        predict.load(run)


def test_an_array_that_claims_more_than_any_memory_is_refused(copied: Copied) -> None:
    run = copied()
    plain = skops_bytes(arrays_of(run))
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(plain)) as source, zipfile.ZipFile(buffer, "w") as changed:
        for part in source.infolist():
            content = source.read(part)
            if part.filename.endswith(".npy"):
                header = BytesIO()
                np.lib.format.write_array_header_1_0(
                    header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
                )
                content = header.getvalue()
            changed.writestr(part.filename, content)
    exchange(run, FOREST, buffer.getvalue())
    with pytest.raises(FileError, match=f"{FOREST}: cannot be read as arrays"):
        predict.load(run)


def _child_outside(arrays: dict[str, np.ndarray]) -> None:
    arrays["left"][0] = 10**6


def _circle(arrays: dict[str, np.ndarray]) -> None:
    arrays["right"][0] = 0


def _into_the_next_tree(arrays: dict[str, np.ndarray]) -> None:
    arrays["right"][0] = arrays["starts"][1]


def _half_a_leaf(arrays: dict[str, np.ndarray]) -> None:
    arrays["left"][0] = -1


def _feature_outside(arrays: dict[str, np.ndarray]) -> None:
    arrays["feature"][0] = 13


def _no_number(arrays: dict[str, np.ndarray]) -> None:
    arrays["threshold"][0] = np.nan


def _no_share(arrays: dict[str, np.ndarray]) -> None:
    arrays["positive"][-1] = 7.0


def _trees_apart(arrays: dict[str, np.ndarray]) -> None:
    arrays["starts"][-1] += 1


def _shorter(arrays: dict[str, np.ndarray]) -> None:
    arrays["left"] = arrays["left"][:-1]


@pytest.mark.parametrize(
    "spoil",
    [
        _child_outside, _circle, _into_the_next_tree, _half_a_leaf, _feature_outside, _no_number, _no_share,
        _trees_apart, _shorter,
    ],
)  # fmt: skip
def test_a_tree_that_leads_nowhere_is_refused(copied: Copied, spoil: Callable[[dict[str, np.ndarray]], None]) -> None:
    run = copied()
    arrays = {name: values.copy() for name, values in arrays_of(run).items()}
    spoil(arrays)
    exchange(run, FOREST, skops_bytes(arrays))
    with pytest.raises(FileError, match=f"{FOREST}: found .*; not a forest"):
        predict.load(run)


def test_tensors_of_another_network_are_refused(copied: Copied) -> None:
    run = copied()
    state = torch.load(run / "artifacts" / NETWORK, weights_only=True)
    infinite = {name: torch.full_like(value, torch.inf) if value.is_floating_point() else value
                for name, value in state.items()}  # fmt: skip
    wrong = {
        "size mismatch": state | {"fc.weight": torch.zeros(1, 3)},
        "Unexpected key": state | {"more": torch.zeros(1)},
        "Missing key": {"fc.bias": state["fc.bias"]},
        "not finite": infinite,
        "found a list": [torch.zeros(1)],
    }
    for said, content in wrong.items():
        exchange(run, NETWORK, torch_bytes(content))
        with pytest.raises(FileError, match=f"(?s){NETWORK}.*{said}"):
            predict.load(run)


def test_tensors_that_are_no_plain_numbers_are_refused(copied: Copied) -> None:
    run = copied()
    state = torch.load(run / "artifacts" / NETWORK, weights_only=True)
    first = state["conv1.weight"]
    wrong = {
        # One stored number, shown as 32 GiB of them.
        "size mismatch": torch.as_strided(torch.zeros(1), (2**33,), (0,)),
        "another kind of tensor for 'conv1.weight'": torch.empty(first.shape, device="meta"),
        "another kind of tensor": first.to_sparse(),
        "another kind of": first.to(torch.complex64),
        # Finite there, infinite in the network.
        "another kind": first.double() * 1e300,
    }
    for said, tensor in wrong.items():
        exchange(run, NETWORK, torch_bytes(state | {"conv1.weight": tensor}))
        with pytest.raises(FileError, match=f"(?s){NETWORK}.*{said}"):
            predict.load(run)
    exchange(run, NETWORK, torch_bytes(dict(enumerate(state.values()))))
    with pytest.raises(FileError, match="expected tensors by name"):
        predict.load(run)


@pytest.mark.parametrize("file", [FOREST, NETWORK])
def test_a_damaged_or_exchanged_file_is_named_with_both_digests(copied: Copied, file: str) -> None:
    run = copied()
    path = run / "artifacts" / file
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        path.write_bytes(content)
        found, expected = hashlib.sha256(content).hexdigest(), hashlib.sha256(whole).hexdigest()
        with pytest.raises(FileError, match=f"{file}: found the SHA-256 {found}, expected {expected}"):
            predict.load(run)
    path.unlink()
    with pytest.raises(FileError, match=f"{file}: cannot be read"):
        predict.load(run)


@pytest.mark.parametrize(
    "file", ["../secret.skops", "/etc/passwd", "sub/random_forest_fold-1.skops", "dcnn_fold-1.pt", 7]
)
def test_a_manifest_leads_to_no_other_folder(copied: Copied, file: object) -> None:
    run = copied()
    (run / "secret.skops").write_bytes((run / "artifacts" / FOREST).read_bytes())
    change(run, "random_forest", folds__0__file=file)
    with pytest.raises(FileError, match=r"model_random_forest\.json: found the file .*expected a name like"):
        predict.load(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 2 .*expected format 1 .*make the report again"),
        ({"model": "dcnn"}, "of model 'dcnn'"),
        ({"versions__scikit-learn": "1.2.3"}, "made with scikit-learn 1.2.3, found .* here .*make the report again"),
        ({"versions__numpy": None}, "made with numpy None"),
        ({"made_with__sources": "0" * 64}, "another version of mflib .*which turns volumes into scores otherwise"),
        ({"folds": []}, "found no folds"),
        ({"folds": {"0": 1}}, "folds of type dict, expected a list"),
        ({"folds__0": "x"}, "a fold of type str"),
        ({"folds__0__threshold": "low"}, "threshold 'low'"),
        ({"folds__0__sha256": "abc"}, "64 hexadecimal digits"),
        ({"folds__0__features": ["participant_id"]}, "expected names of texture features"),
        ({"folds__0__features": ["glcm_999_77_1.0.0_contrast"]}, "reference: .*glcm_999"),
        ({"predictions__y_true": [2]}, "predictions: "),
        ({"predictions__score": ["x"] * 64}, "predictions: 64 faults"),
        ({"reference__words": {"ProbeModel": 1}}, "int"),
        ({"reference__voxels": 1}, "int"),
        ({"versions__numpy": "\x1b[2J"}, r"numpy \?\[2J"),
        ({"folds__0__features": 1}, "int"),
        ({"reference": None}, "a reference of type NoneType"),
        ({"reference__texture": {}}, "reference: found"),
        ({"reference__participant_id": ["sub-001"]}, "reference: found"),
        ({"reference__texture__nakagami_m__0": 10**400}, "model_random_forest.json: .*too large"),
        ({"reference__texture__nakagami_m__0": 1e308}, "without finite, moderate values"),
        ({"predictions__fold__0": 10**400}, "model_random_forest.json: "),
        ({"preprocessing__patch_mm": "1"}, "preprocessing: found patch_mm '1', expected numbers"),
        ({"preprocessing__run": 1}, "preprocessing has run"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_believed_is_refused_with_the_reason(
    copied: Copied, changes: dict[str, Any], said: str
) -> None:
    run = copied()
    change(run, "random_forest", **changes)
    if any(name.startswith("preprocessing") for name in changes):
        change(run, "dcnn", **changes)
    with pytest.raises(FileError, match=said):
        predict.load(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "found a list, expected a JSON object"),
        ('{"format": NaN}', "found NaN, expected finite numbers"),
        ("[" * 100_000, "cannot be read as JSON"),
        (" " * (8 * 2**20 + 1), "expected at most"),
    ],
)
def test_what_is_no_manifest_is_refused(copied: Copied, text: str, said: str) -> None:
    run = copied()
    (run / "artifacts" / "model_dcnn.json").write_text(text)
    with pytest.raises(FileError, match=f"model_dcnn.json: .*{said}"):
        predict.load(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings__size": [10**5] * 3}, "expected at most 512"),
        ({"settings__width": 10**6}, "width 1024"),
        ({"settings__width": "x"}, "width x, expected at most 512"),
        ({"settings__depth": 11}, "depth 11"),
        ({"run__seed": 1}, "expected the models of one run"),
    ],
)
def test_a_network_that_would_fill_the_memory_or_is_of_another_run_is_refused(
    copied: Copied, changes: dict[str, Any], said: str
) -> None:
    run = copied()
    change(run, "dcnn", **changes)
    with pytest.raises(FileError, match=said):
        predict.load(run)


def test_a_folder_without_models_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"found no model_random_forest.json .*mflib report"):
        predict.load(tmp_path)
