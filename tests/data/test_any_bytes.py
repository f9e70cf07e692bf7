"""Whatever bytes a volume file holds, it ends as a volume or with a reason, and nothing is written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mflib.base.errors import FileError
from mflib.data import volume as volumes
from mflib.data.intake.acquisition import acquire
from mflib.data.volume import Volume
from tests.data import dicoms as files
from tests.data.images import metaimage

VOXELS, SPACING = files.speckle((24, 20, 9)), (0.2, 0.3, 0.5)
WRITERS: dict[str, Callable[[Path], object]] = {
    "a.nii": lambda p: volumes.write(Volume(VOXELS, SPACING), p),
    "a.nii.gz": lambda p: volumes.write(Volume(VOXELS, SPACING), p),
    "a.nrrd": lambda p: volumes.write(Volume(VOXELS, SPACING), p),
    "a.mha": lambda p: metaimage(p, VOXELS, SPACING),
    "packed.mha": lambda p: metaimage(p, VOXELS, SPACING, packed=True),
    "affiniti.dcm": lambda p: files.affiniti(p, VOXELS, SPACING),
    "enhanced.dcm": lambda p: files.enhanced_us(p, VOXELS, SPACING),
    "region.dcm": lambda p: files.region_multiframe(p, VOXELS, SPACING, photometric="RGB"),
    "jpeg.dcm": lambda p: files.affiniti(p, VOXELS, SPACING, syntax=files.JPEGBaseline8Bit),
    "rle.dcm": lambda p: files.affiniti(p, VOXELS, SPACING, syntax=files.RLELossless),
}
# A header holds most of the places where a byte can do harm.
PLACES = st.integers(0, 900) | st.integers(0, 8000)
CHANGES = st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=9)), max_size=6)


@pytest.mark.parametrize("name", WRITERS)
def test_any_bytes_end_in_a_volume_or_a_reason(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    packed = name.endswith(".gz")
    whole = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()

    @given(changes=CHANGES, end=st.none() | st.integers(0, len(whole)))
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    def check(changes: list[tuple[int, bytes]], end: int | None) -> None:
        content = bytearray(whole)
        for at, change in changes:
            content[at : at + len(change)] = change
        path.write_bytes(gzip.compress(content[:end], 1) if packed else content[:end])
        before = path.read_bytes()
        for read in (acquire,) if name.endswith(".dcm") else (acquire, volumes.read):
            try:
                assert read(path).voxels.dtype == np.uint8
            except FileError as refusal:
                assert str(refusal)
        assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, before)]

    check()
