"""What a viewer holds: the voxels as they are, a still picture the right way round, and nothing of the patient."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from mflib.base.errors import InputError
from mflib.base.files import ASSETS
from mflib.base.words import AXES, PLANES
from mflib.data.volume import Annotation, Volume
from mflib.show import planes, viewer
from mflib.show.shown import Shown
from mflib.show.viewer import view
from mflib.study.page import section
from mflib.study.pipeline import Record

SHAPE, SPACING = (30, 24, 18), (0.5, 0.8, 1.1)
MARKS = Annotation(bone=(3, 4, 9), shadow=(3, 20, 9), roi_start=(8, 6, 2), roi_size=(12, 15, 10))


def noise(shape: tuple[int, int, int] = SHAPE, **sidecar: Any) -> Volume:
    voxels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    return Volume(voxels, SPACING, sidecar)


def held(html: str) -> tuple[dict[str, Any], list[bytes]]:
    """Settings and unpacked arrays of a viewer's page."""
    soup = BeautifulSoup(html, "html.parser")
    settings = json.loads(soup.find("script", type="application/json").string)
    packed = soup.find_all("script", type="application/octet-stream")
    return settings, [gzip.decompress(base64.b64decode(script.string)) for script in packed]


def picture(html: str) -> bytes:
    return base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html).group(1))


def test_the_page_holds_the_voxels_as_they_are() -> None:
    volume = noise()
    settings, (content,) = held(view(volume).html)
    np.testing.assert_array_equal(np.frombuffer(content, np.uint8).reshape(SHAPE, order="F"), volume.voxels)
    assert settings["shape"] == list(SHAPE) and settings["spacing"] == list(SPACING)
    assert settings["start"] == [15, 12, 9]


def test_a_map_lies_in_its_region() -> None:
    values = np.random.default_rng(2).random(MARKS.roi_size)
    values[10, 2, 7] = 4.0
    settings, (_, content) = held(view(noise(), MARKS, values).html)
    parts = np.frombuffer(content, np.uint8).reshape(MARKS.roi_size, order="F")
    np.testing.assert_allclose(parts / 255 * 4, values, atol=4 / 255 / 2 + 1e-9)
    np.testing.assert_allclose(settings["saliency"]["origin"], [4.0, 4.8, 2.2])
    assert settings["start"] == [18, 8, 9] and settings["saliency"]["highest"] == "4"
    everywhere, _ = held(view(noise(), MARKS, np.zeros(SHAPE)).html)
    assert everywhere["saliency"]["origin"] == [0, 0, 0] and everywhere["start"] == [14, 13, 7]


def test_the_same_volume_gives_the_same_page_of_a_fair_size() -> None:
    volume = noise((180, 180, 70))
    first = view(volume).html
    assert view(Volume(volume.voxels.copy(order="F"), SPACING)).html == first
    assert first.isascii()
    assert len(picture(first)) < 150_000
    assert len(first) < 1.34 * volume.voxels.size + 230_000  # noise cannot be compressed; base64 adds a third
    assert len(repr(view(volume))) < 400  # a notebook stores it beside the page


def test_what_is_too_large_is_averaged_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "MAX_VOXELS", 2000)
    volume = noise((31, 25, 17))
    shown = view(volume, MARKS)
    settings, (content,) = held(shown.html)
    factors = settings["factors"]
    parts = np.frombuffer(content, np.uint8).reshape(settings["shape"], order="F")
    assert parts.size <= 2000 and max(factors) > 1
    for index in np.ndindex(parts.shape):
        box = tuple(slice(n * f, (n + 1) * f) for n, f in zip(index, factors, strict=True))
        assert abs(float(parts[index]) - volume.voxels[box].mean()) <= 0.5
    np.testing.assert_allclose(settings["points"][0]["at"], [1.75, 3.6, 10.45])
    np.testing.assert_allclose(settings["extent"], [15.5, 20.0, 18.7])
    assert "each voxel shown is the mean of" in shown.html
    assert "is the mean of" not in view(noise((10, 10, 10))).html


def test_the_still_picture_is_the_right_way_round() -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    at = (22, 5, 13)
    voxels[tuple(slice(n - 2, n + 3) for n in at)] = 255
    ready = replace(viewer.prepare(Volume(voxels, SPACING), None, None), start=(21, 6, 14))
    figure = viewer.draw(ready)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, 0]
    for axes, (_, right, down, _) in zip(figure.axes, PLANES, strict=True):
        place = (np.array(at) + 0.5) * SPACING
        for x in (place[right], ready.extent_mm[right] - place[right]):
            for y in (place[down], ready.extent_mm[down] - place[down]):
                column, row = np.rint(axes.transData.transform((x, y))).astype(int)
                bright = (x, y) == (place[right], place[down])
                assert (pixels[row, column] > 150) == bright
        top, bottom = (axes.transData.transform((0, edge))[1] for edge in (0, ready.extent_mm[down]))
        assert top > bottom


def test_nothing_of_the_sidecar_but_level_and_side_reaches_the_page() -> None:
    fields = ("SpinalLevel", "Laterality", "PatientName", "ProbeModel", "Manufacturer", "AxisNames", "Seed")
    html = view(noise(**dict.fromkeys(fields, "Meier-Planted"))).html
    for _, content in [held(html)]:
        assert b"Planted" not in b"".join(content)
    assert "Planted" not in html
    assert "L4/5 left, 15.0 &#215; 19.2" in view(noise(SpinalLevel="L45", Laterality="L")).html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume": np.zeros(SHAPE, np.uint8)}, "found a ndarray, expected a volume"),
        ({"volume": Volume(np.zeros(SHAPE), SPACING)}, r"of float64, expected three axes of uint8"),
        ({"volume": Volume(np.zeros(SHAPE, np.uint8), (0.5, np.nan, 1.0))}, "expected three voxel sizes in mm"),
        ({"annotation": {"bone": (1, 2, 3)}}, "found a dict, expected an Annotation"),
        (
            {"annotation": replace(MARKS, bone=(30, 0, 0))},
            r"bone is at \(30, 0, 0\), .* \(30, 24, 18\)",
        ),
        ({"annotation": replace(MARKS, roi_size=(12, 19, 10))}, "ROI spans .* expected inside a volume"),
        ({"annotation": replace(MARKS, roi_start=(-1, 0, 0))}, "ROI spans .* expected inside a volume"),
        ({"saliency": np.ones((2, 3, 4))}, "found shape 2 x 3 x 4, expected the volume's 30 x 24 x 18"),
        ({"saliency": np.full(SHAPE, np.nan)}, "12960 values NaN or infinite"),
        ({"saliency": np.full(SHAPE, -1.0)}, "expected no negative value"),
    ],
)
def test_what_cannot_be_shown_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        view(**{"volume": noise(), **change})


def test_it_passes_through_the_report_unharmed(tmp_path: Path) -> None:
    hostile = 'A & B </script><script>alert("1")</script> "腰" <b>'
    shown = view(noise(), MARKS, caption=hostile)
    output = nbformat.v4.new_output("execute_result", {"text/html": shown.html, "text/plain": repr(shown)})
    cells = [nbformat.v4.new_markdown_cell("# One volume"), nbformat.v4.new_code_cell("view(volume)", outputs=[output])]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "01_cohort.ipynb")
    page = str(section(tmp_path, "01_cohort", Record("", "done")).html)
    assert held(page) == held(shown.html)
    scripts = re.compile(r"<script.*?</script>", re.DOTALL)
    assert scripts.findall(page) == scripts.findall(shown.html) and len(scripts.findall(page)) == 3
    figure = BeautifulSoup(page, "html.parser").select_one("figure.mflib-view")
    assert figure.figcaption.text.startswith(hostile)
    assert picture(str(figure)) == picture(shown.html)
    with Image.open(io.BytesIO(picture(shown.html))) as image:
        assert image.format == "PNG"


def test_script_and_figures_share_their_planes_and_colours() -> None:
    script = (ASSETS / "planes.js").read_text()
    held = dict(re.findall(r"^const (\w+) = ([\[{].*?[\]}]);", script, re.MULTILINE))
    assert json.loads(held["AXES"]) == list(AXES)
    assert json.loads(held["PLANES"]) == [list(plane) for plane in PLANES]
    assert json.loads(re.sub(r"(\w+):", r'"\1":', held["COLOURS"])) == planes.COLOURS


def test_a_notebook_shows_the_page() -> None:
    shown = view(noise())
    assert isinstance(shown, Shown)
    assert shown._repr_html_() == shown.html
