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
import safetensors.numpy
import torch

from mflib.base.errors import FileError
from mflib.study import kept as stored
from mflib.study import predict

FOREST, NETWORK = "random_forest_fold-1.safetensors", "dcnn_fold-1.safetensors"
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


def parted(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a safetensors file."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def joined(header: bytes, body: bytes) -> bytes:
    """A safetensors file by hand, with whatever header."""
    return len(header).to_bytes(8, "little") + header + body


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


def arrays_of(run: Path, file: str = FOREST) -> dict[str, np.ndarray]:
    loaded: dict[str, np.ndarray] = safetensors.numpy.load_file(run / "artifacts" / file)
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


Header = dict[str, Any]


def test_what_mflib_keeps_announces_six_arrays_and_nothing_else(copied: Copied) -> None:
    run = copied()
    header, body = parted((run / "artifacts" / FOREST).read_bytes())
    assert {name: str(values.dtype) for name, values in arrays_of(run).items()} == stored.ARRAYS
    assert set(header) == set(stored.ARRAYS)
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(body)


def _as_float32(header: Header) -> None:
    header["threshold"]["dtype"] = "F32"


def _no_type_of_numpy(header: Header) -> None:
    header["threshold"]["dtype"] = "BF16"


def _no_type(header: Header) -> None:
    header["threshold"]["dtype"] = ["F64"]


def _two_axes(header: Header) -> None:
    header["feature"]["shape"].append(1)


def _no_axis(header: Header) -> None:
    header["starts"]["shape"] = []


def _one_less(header: Header) -> None:
    del header["left"]


def _one_more(header: Header) -> None:
    header["more"] = {"dtype": "I32", "shape": [0], "data_offsets": [0, 0]}


def _another_name(header: Header) -> None:
    header["Feature"] = header.pop("feature")


def _no_entry(header: Header) -> None:
    header["feature"] = None


@pytest.mark.parametrize(
    "spoil",
    [
        _as_float32, _no_type_of_numpy, _no_type, _two_axes, _no_axis, _one_less, _one_more, _another_name, _no_entry,
    ],
)  # fmt: skip
def test_a_file_that_announces_anything_but_a_forest_is_refused(
    copied: Copied, spoil: Callable[[Header], None]
) -> None:
    run = copied()
    header, body = parted((run / "artifacts" / FOREST).read_bytes())
    spoil(header)
    exchange(run, FOREST, joined(json.dumps(header).encode(), body))
    said = "found the arrays .* in place of|found arrays of more or fewer than one axis|cannot be read as arrays"
    with pytest.raises(FileError, match=f"{FOREST}: ({said})"):
        predict.load(run)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as arrays"),
        (b"1234567", "expected at most 1,048,576"),
        (joined(b"", b""), "cannot be read as arrays"),
        (joined(b"null", b""), "cannot be read as arrays"),
        (joined(b"{}", b""), "found the arrays .* in place of .*feature"),
        (joined(b'["feature"]', b""), "cannot be read as arrays"),
        (joined(b"[" * 4000, b""), "cannot be read as arrays"),
        (joined(b"1" * 4096, b""), "cannot be read as arrays"),
        (joined('{"left": 1}'.encode("utf-16"), b""), "cannot be read as arrays"),
        (joined(b"{}" + b" " * 2**20, b""), "a header of 1,048,578 bytes, expected at most 1,048,576"),
        ((2**64 - 1).to_bytes(8, "little") + b"{}", "expected at most 1,048,576"),
        ((4096).to_bytes(8, "little") + b'{"left": ', "cannot be read as arrays"),
    ],
)
def test_what_is_no_file_of_arrays_is_refused(copied: Copied, content: bytes, said: str) -> None:
    run = copied()
    exchange(run, FOREST, content)
    with pytest.raises(FileError, match=f"{FOREST}: .*{said}"):
        predict.load(run)


def _over_another(header: Header) -> None:
    first, last = header["left"]["data_offsets"]
    header["left"]["data_offsets"] = [first - 4, last - 4]


def _in_one_place(header: Header) -> None:
    header["left"]["data_offsets"] = header["right"]["data_offsets"]


def _a_hole(header: Header) -> None:
    for entry in header.values():
        entry["data_offsets"] = [at + 4 for at in entry["data_offsets"]]


def _behind_the_end(header: Header) -> None:
    header["starts"]["data_offsets"] = [10**15, 10**15 + 4 * header["starts"]["shape"][0]]


def _backwards(header: Header) -> None:
    header["left"]["data_offsets"].reverse()


def _more_than_any_memory(header: Header) -> None:
    header["feature"]["shape"] = [10**15]


def _more_than_counts(header: Header) -> None:
    header["threshold"]["shape"] = [2**62]


def _less_than_nothing(header: Header) -> None:
    header["left"]["shape"] = [-1]


def _a_broken_number(header: Header) -> None:
    header["left"]["shape"] = [float(header["left"]["shape"][0])]


@pytest.mark.parametrize(
    "spoil",
    [
        _over_another, _in_one_place, _a_hole, _behind_the_end, _backwards, _more_than_any_memory, _more_than_counts,
        _less_than_nothing, _a_broken_number,
    ],
)  # fmt: skip
def test_arrays_that_do_not_fill_the_file_one_after_the_other_are_refused(
    copied: Copied, spoil: Callable[[Header], None]
) -> None:
    run = copied()
    header, body = parted((run / "artifacts" / FOREST).read_bytes())
    spoil(header)
    exchange(run, FOREST, joined(json.dumps(header).encode(), body))
    with pytest.raises(FileError, match=f"{FOREST}: cannot be read as arrays"):
        predict.load(run)


def test_a_file_that_is_longer_or_shorter_than_it_says_is_refused(copied: Copied) -> None:
    run = copied()
    whole = (run / "artifacts" / FOREST).read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole + b"\0", whole + whole):
        exchange(run, FOREST, content)
        with pytest.raises(FileError, match=f"{FOREST}: cannot be read as arrays"):
            predict.load(run)


@pytest.mark.parametrize("file", [FOREST, NETWORK])
def test_a_bomb_is_not_unpacked(copied: Copied, file: str) -> None:
    run = copied()
    exchange(run, file, bomb(["archive/data.pkl", "archive/data/0"]))
    with pytest.raises(FileError, match=f"{file}: found a header of .* bytes, expected at most"):
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


def _trees_that_turn_round(arrays: dict[str, np.ndarray]) -> None:
    # Every difference is positive in 32 bits, and their sum is 16 GiB of nodes.
    last = arrays["starts"][-1]
    arrays["starts"] = np.array([0, 2**31 - 1, -(2**31), -1, last], np.int32)


def _no_tree(arrays: dict[str, np.ndarray]) -> None:
    arrays |= {name: values[:0] for name, values in arrays.items()}


def _shorter(arrays: dict[str, np.ndarray]) -> None:
    arrays["left"] = arrays["left"][:-1]


@pytest.mark.parametrize(
    "spoil",
    [
        _child_outside, _circle, _into_the_next_tree, _half_a_leaf, _feature_outside, _no_number, _no_share,
        _trees_apart, _trees_that_turn_round, _no_tree, _shorter,
    ],
)  # fmt: skip
def test_a_tree_that_leads_nowhere_is_refused(copied: Copied, spoil: Callable[[dict[str, np.ndarray]], None]) -> None:
    run = copied()
    arrays = {name: values.copy() for name, values in arrays_of(run).items()}
    spoil(arrays)
    exchange(run, FOREST, safetensors.numpy.save(arrays))
    with pytest.raises(FileError, match=f"{FOREST}: found .*; not a forest"):
        predict.load(run)


def test_arrays_of_another_network_are_refused(copied: Copied) -> None:
    run = copied()
    state = arrays_of(run, NETWORK)
    first = state["conv1.weight"]
    wrong = {
        "size mismatch": state | {"fc.weight": np.zeros((1, 3), np.float32)},
        r"found the arrays \[\('more', 'float32'\)\] in place of \[\]": state | {"more": np.zeros(1, np.float32)},
        r"found the arrays \[\] in place of .*'conv1.weight'": {"fc.bias": state["fc.bias"]},
        "not finite": state | {"conv1.weight": np.full_like(first, np.inf)},
        r"found the arrays \[\('conv1.weight', 'complex64'\)\]": state | {"conv1.weight": first.astype(np.complex64)},
        # Finite there, infinite in the network.
        r"found the arrays \[\('conv1.weight', 'float64'\)\]": state | {"conv1.weight": first * np.float64(1e300)},
    }
    for said, content in wrong.items():
        exchange(run, NETWORK, safetensors.numpy.save(content))
        with pytest.raises(FileError, match=f"(?s){NETWORK}.*{said}"):
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
    "file", ["../secret.safetensors", "/etc/passwd", "sub/random_forest_fold-1.safetensors", "dcnn_fold-1.pt", 7]
)
def test_a_manifest_leads_to_no_other_folder(copied: Copied, file: object) -> None:
    run = copied()
    (run / "secret.safetensors").write_bytes((run / "artifacts" / FOREST).read_bytes())
    change(run, "random_forest", folds__0__file=file)
    said = "found the file .*expected a name like|file: found 7, expected a text"
    with pytest.raises(FileError, match=rf"(?s)model_random_forest\.json: .*({said})"):
        predict.load(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 1}, "found format 1 .*expected format 4 .*make the report again"),
        ({"model": "dcnn"}, "of model 'dcnn'"),
        (
            {"versions__numpy": "1.2.3", "made_with__sources": ""},
            "made with numpy 1.2.3, found .* here, .*make the report again",
        ),
        ({"versions__numpy": None}, "versions.numpy: found None, expected a text"),
        ({"made_with__sources": "0" * 64}, "another version of mflib, which turns volumes into scores otherwise"),
        ({"folds": []}, "found no folds"),
        ({"folds": {"0": 1}}, "folds: found {'0': 1}, expected a list"),
        ({"folds__0": "x"}, "folds.0: found 'x', expected a group"),
        ({"folds__0__slope": -1.0}, "found the slope -1.0, expected 0 or above"),
        ({"folds__0__threshold": "low"}, "folds.0.threshold: found 'low', expected a number"),
        ({"folds__0__sha256": "abc"}, "64 hexadecimal digits"),
        ({"folds__0__features": ["participant_id"]}, "expected names of texture features"),
        ({"folds__0__features": ["glcm_999_77_1.0.0_contrast"]}, "reference: .*glcm_999"),
        ({"predictions__y_true": [2]}, "predictions: "),
        ({"predictions__score": ["x"] * 64}, "predictions: 64 faults"),
        ({"predictions__probability": [None] * 64}, "predictions: found no probabilities"),
        ({"predictions__probability": [float("nan")] * 64}, "predictions: found no probabilities"),
        ({"predictions__probability__3": float("nan")}, "in every row of its model, or in none"),
        ({"reference__words": {"ProbeModel": 1}}, "words.ProbeModel: found 1, expected a list"),
        ({"reference__voxels": 1}, "voxels: found 1, expected a list"),
        ({"versions__numpy": "\x1b[2J", "made_with__sources": ""}, r"numpy \?\[2J"),
        ({"folds__0__features": 1}, "features: found 1, expected a list"),
        ({"reference": None}, "found no reference or no features"),
        ({"reference__texture": {}}, "reference: found"),
        ({"reference__participant_id": ["sub-001"]}, "reference: found"),
        ({"reference__texture__nakagami_m__0": 10**400}, "nakagami_m.0: found 1000*, expected a finite number"),
        ({"reference__texture__nakagami_m__0": 1e308}, "without finite, moderate values"),
        ({"predictions__fold__0": 10**400}, "model_random_forest.json: "),
        ({"preprocessing__patch_mm": "1"}, "preprocessing.patch_mm: found '1', expected a number"),
        ({"preprocessing__run": 1}, "run is no setting"),
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
        ("{", "no valid JSON"),
        ("[]", "found a list; expected a JSON object"),
        ('{"format": NaN}', "found format nan"),
        ("[" * 100_000, "no valid JSON"),
        (" " * (8 * 2**20 + 1), "expected at most"),
        ('{"format": 4, "model": "dcnn", "run": ' + '{"a":' * 600 + "1" + "}" * 601, "cannot be used"),
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
        ({"settings__width": 10**6}, "width: found 1000000, expected at most 1024"),
        ({"settings__width": "x"}, "width: found 'x', expected a whole number"),
        ({"settings__depth": 11}, "depth: found 11, expected 10, 18"),
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
    with pytest.raises(FileError, match=r"model_random_forest\.json: found no such file .*mflib report"):
        predict.load(tmp_path)
