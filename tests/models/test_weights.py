"""Released weights: from a hub that runs here, from its cache, from a path; never another file than the pinned one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from mflib.base.errors import FileError, RunError
from mflib.models.dcnn import network
from mflib.models.dcnn.settings import NetworkSettings, find_weights, releases

CONTENT = b"weights of a network" * 50
NAME = "resnet_50_23dataset.pth"
RELEASE = releases()[NAME]
FIND = """
import json, sys
from mflib.base.errors import RunError
from dataclasses import replace
from mflib.models.dcnn.settings import NetworkSettings, find_weights, releases
pretrained, sha256 = sys.argv[1:]
name = "resnet_50_23dataset.pth"
releases()[name] = replace(releases()[name], sha256=sha256)
try:
    found = find_weights(NetworkSettings(depth=50, pretrained=pretrained))
    print(json.dumps(found and found.read_bytes().decode()))
except RunError as error:
    print(json.dumps(f"refused: {error}"))
"""


@dataclass
class Hub:
    """A hub on this machine, and what it was asked for."""

    address: str = ""
    content: bytes | None = CONTENT
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if "/resolve/" in self.path:  # the library asks for its own registries too
                state.asked.append(self.path)
            self.send_response(404 if state.content is None else 200)
            self.send_header("X-Repo-Commit", RELEASE.revision)
            self.send_header("ETag", f'"{hashlib.sha256(state.content or b"").hexdigest()}"')
            self.send_header("Content-Length", str(len(state.content or b"")))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(state.content or b"")

        def log_message(self, *_: object) -> None:
            """The test reads ``asked``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()


def find(hub: Hub, cache: Path, pretrained: str, expected: bytes = CONTENT) -> str | None:
    """What ``find_weights`` finds in a process whose hub is this one."""
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    arguments = [sys.executable, "-c", FIND, pretrained, hashlib.sha256(expected).hexdigest()]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_required_weights_are_downloaded_once_and_present_ones_are_taken(hub: Hub, tmp_path: Path) -> None:
    assert find(hub, tmp_path, "if-present") is None
    assert hub.asked == []
    assert find(hub, tmp_path, "required") == CONTENT.decode()
    assert {Path(path).name for path in hub.asked} == {NAME}
    assert all(RELEASE.revision in path for path in hub.asked)
    hub.asked.clear()
    assert find(hub, tmp_path, "if-present") == find(hub, tmp_path, "required") == CONTENT.decode()
    assert hub.asked == []


def test_another_file_is_never_taken_in_silence(hub: Hub, tmp_path: Path) -> None:
    hub.content = b"something else"
    refused = find(hub, tmp_path, "required")
    assert refused is not None
    assert f"{NAME} has SHA-256 {hashlib.sha256(b'something else').hexdigest()}, expected" in refused
    hub.content = None
    refused = find(hub, tmp_path / "empty", "required")
    assert refused is not None
    assert f"{NAME} is required and could not be downloaded" in refused
    assert {Path(path).name for path in hub.asked} == {NAME}


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    present, required = (NetworkSettings(depth=50, pretrained=p, weights=str(path)) for p in ("if-present", "required"))
    assert find_weights(present) is None
    with pytest.raises(RunError, match=r"found no weights at .*own\.pth, expected a MedicalNet file"):
        find_weights(required)
    path.touch()
    assert find_weights(present) == find_weights(required) == path


def test_without_the_hub_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=rf"{NAME} comes from the Hugging Face hub.*pip install 'mflib\[weights\]'"):
        find_weights(NetworkSettings(depth=50, pretrained="required"))
    assert find_weights(NetworkSettings(depth=50, pretrained="if-present")) is None


def test_a_path_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    path = tmp_path / "own.pth"
    path.touch()
    assert find_weights(NetworkSettings(depth=50, pretrained="required", weights=str(path))) == path


def test_every_released_depth_is_pinned_twice() -> None:
    assert set(releases()) == {f"resnet_{d}{kind}.pth" for d in (10, 18, 34, 50) for kind in ("", "_23dataset")}
    assert len({release.sha256 for release in releases().values()}) == 8
    assert all(len(release.revision) == 40 and len(release.sha256) == 64 for release in releases().values())


def saved(content: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


TENSORS = {"state_dict": {"module.conv1.weight": torch.ones(300)}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><title>403</title>", "found an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "found a Git LFS pointer"),
        (b"", "found an empty file"),
        (b'{"message": "Not Found"}', "found another kind of file"),
        (saved(TENSORS)[:-200], "found a file cut short or damaged"),
        (saved(TENSORS, _use_new_zipfile_serialization=False)[:-200], "found a file cut short or damaged"),
        (saved({"state_dict": Code()}), "found code beside the tensors"),
        (saved({"state_dict": Code()}, _use_new_zipfile_serialization=False), "found code beside the tensors"),
        (pickle.dumps(Code()), "found a pickle, which may run code"),
        (saved([1, 2]), "found a list, expected tensors by name"),
        (saved(TENSORS), "not the weights of this network: .* missing"),
    ],
    # Bytes as names would differ between the processes that run the tests.
    ids=["page", "pointer", "nothing", "other", "cut", "old-cut", "code", "old-code", "pickle", "list", "others"],
)
def test_what_is_no_weights_file_is_said_in_our_words(
    content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.pth"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"^own\.pth: {said}") as caught:
        network.started(NetworkSettings(depth=10, width=4, pretrained="required", weights=str(path)))
    assert "weights_only" not in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()
