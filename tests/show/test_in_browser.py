"""The viewer in a real browser without a network: what stands on the screen is what stands in the array."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest

from mflib.base.words import PLANES
from mflib.data.volume import Annotation, Volume
from mflib.show import planes
from mflib.show.shown import LIVE
from mflib.show.viewer import view
from tests.show.test_charts import MADE

pytestmark = pytest.mark.browser
ASSETS = Path(__file__).parents[2] / "mflib" / "_assets"
POLICY = re.search(r"<meta http-equiv.*?>", (ASSETS / "page.html.j2").read_text()).group()
BLOCK = 5  # voxels along each edge; in the middle of a block smoothing changes nothing
SPACING = (0.5, 0.8, 1.1)
LEFT, RIGHT, TOP = 46, 10, 8  # room around a plane on its canvas, in pixels
MARKS = Annotation(bone=(2, 12, 12), shadow=(2, 22, 12), roi_start=(10, 5, 5), roi_size=(15, 15, 10))
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
BOX = "figure.mflib-view >> nth={}"


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    blocks = np.random.default_rng(4).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)


@pytest.fixture(scope="module")
def report(voxels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page under the report's own policy and style with three viewers, two of them alike."""
    volume = Volume(voxels, SPACING, {"SpinalLevel": "L45", "Laterality": "L"})
    saliency = np.zeros(MARKS.roi_size)
    saliency[5:10, 5:10, :] = 1.0
    views = [view(volume), view(volume), view(volume, MARKS, saliency, caption="With a map.")]
    page = tmp_path_factory.mktemp("page") / "page.html"
    page.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Views</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{POLICY}'
        f"<style>{(ASSETS / 'page.css').read_text()}</style></head>"
        f'<body><div class="layout"><nav></nav><main>{"".join(v.html for v in views)}</main></div></body></html>'
    )
    return page


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end nothing was fetched and nothing complained."""
    contexts, seen = [], []

    def open_page(width: int = 1280, runs: bool = True, **options: Any) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, offline=True, java_script_enabled=runs, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.goto(report.as_uri())
        if runs:
            page.wait_for_selector(".mflib-view-running >> nth=2")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [line for line in seen if not line.startswith("data:") and line != report.as_uri()] == []


def place(canvas: Any, plane: int, mm: tuple[float, ...], extent: tuple[float, ...]) -> tuple[float, float]:
    """Pixels on the canvas of a place in the volume."""
    _, right, down, _ = PLANES[plane]
    scale = (canvas.bounding_box()["width"] - LEFT - RIGHT) / extent[right]
    return LEFT + mm[right] * scale, TOP + mm[down] * scale


def colours(canvas: Any, places: list[tuple[float, float]]) -> np.ndarray:
    read = """(canvas, places) => {
        const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        pen.drawImage(canvas, 0, 0);
        const d = canvas.width / canvas.getBoundingClientRect().width;
        return places.map(([x, y]) => [...pen.getImageData(Math.floor(x * d), Math.floor(y * d), 1, 1).data]);
    }"""
    return np.array(canvas.evaluate(read, places))[:, :3]


def settle(page: Any) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def reading(box: Any) -> tuple[int, tuple[int, ...]]:
    text = box.locator("output").inner_text()
    grey, voxel = re.search(r"grey (\d+)", text), re.search(r"voxel (\d+), (\d+), (\d+)", text)
    return int(grey.group(1)), tuple(map(int, voxel.groups()))


@pytest.mark.parametrize("dense", [1, 2])
def test_every_block_has_its_grey(opened: Callable[..., Any], voxels: np.ndarray, dense: int) -> None:
    page = opened(device_scale_factor=dense)
    box = page.locator(BOX.format(1))
    extent = tuple(np.multiply(voxels.shape, SPACING))
    at = (15, 12, 10)
    for level, width in ((128, 256), (100, 61)):
        for name, value in (("level", level), ("width", width)):
            box.get_by_role("slider", name=name, exact=True).fill(str(value))
        settle(page)
        for plane, (_, right, down, through) in enumerate(PLANES):
            canvas = box.locator("canvas").nth(plane)
            middles, expected = [], []
            for a in range(2, voxels.shape[right], BLOCK):
                for b in range(2, voxels.shape[down], BLOCK):
                    index = [0, 0, 0]
                    index[right], index[down], index[through] = a, b, at[through]
                    mm = tuple((np.array(index) + 0.5) * SPACING)
                    if min(abs(mm[axis] - (at[axis] + 0.5) * SPACING[axis]) for axis in (right, down)) > 0.9:
                        middles.append(place(canvas, plane, mm, extent))
                        expected.append(int(voxels[tuple(index)]))
            # DICOM PS3.3 C.11.2.1.2.1
            window = np.clip((np.array(expected) - (level - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
            assert len(window) >= 9
            np.testing.assert_allclose(colours(canvas, middles), window[:, np.newaxis].repeat(3, 1), atol=1)


def test_a_click_moves_all_planes_of_one_viewer(opened: Callable[..., Any], voxels: np.ndarray) -> None:
    page = opened()
    first, second = (page.locator(BOX.format(n)) for n in (0, 1))
    extent = tuple(np.multiply(voxels.shape, SPACING))
    assert reading(first) == reading(second) == (voxels[15, 12, 10], (15, 12, 10))
    transverse, sagittal, _ = first.locator("canvas").all()
    x, y = place(transverse, 0, tuple(np.multiply((7.5, 3.5, 0), SPACING)), extent)
    transverse.click(position={"x": x, "y": y})
    settle(page)
    assert reading(first) == (voxels[7, 3, 10], (7, 3, 10))
    x, y = place(sagittal, 1, tuple(np.multiply((0, 21.5, 2.5), SPACING)), extent)
    sagittal.click(position={"x": x, "y": y})
    settle(page)
    assert reading(first) == (voxels[7, 21, 2], (7, 21, 2))
    assert first.get_by_role("slider", name="coronal").input_value() == "21"
    assert first.get_by_role("slider", name="coronal").get_attribute("aria-valuetext") == "depth 17.2 mm"
    assert reading(second) == (voxels[15, 12, 10], (15, 12, 10))
    # The other planes show what was gone to: the transverse one is now cut at k = 2.
    at = tuple((np.array((22, 7, 2)) + 0.5) * SPACING)
    assert abs(colours(transverse, [place(transverse, 0, at, extent)])[0, 0] - int(voxels[22, 7, 2])) <= 1
    page.mouse.move(5, 5)
    first.get_by_role("button", name="Reset").click()
    settle(page)
    assert reading(first) == reading(second)


def test_keys_and_dragging(opened: Callable[..., Any]) -> None:
    page = opened()
    box = page.locator(BOX.format(0))
    sagittal = box.locator("canvas").nth(1)
    sagittal.focus()
    for key in ("ArrowRight", "ArrowUp", "PageDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    settle(page)
    assert reading(box)[1] == (16, 21, 11)
    box.get_by_role("slider", name="transverse").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert reading(box)[1] == (16, 21, 18)
    sagittal.hover(position={"x": 60, "y": 60})
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(*(sagittal.bounding_box()[key] + 40 for key in ("x", "y")))
    page.mouse.up()
    page.keyboard.up("Shift")
    settle(page)
    assert reading(box)[1] == (16, 21, 18)
    window = [box.get_by_role("slider", name=name, exact=True).input_value() for name in ("level", "width")]
    assert window == ["108", "236"]


def test_overlays_can_be_seen_and_taken_away(opened: Callable[..., Any], voxels: np.ndarray) -> None:
    page = opened()
    box = page.locator(BOX.format(2))
    extent = tuple(np.multiply(voxels.shape, SPACING))
    transverse = box.locator("canvas").first
    assert reading(box)[1] == (15, 10, 5)  # the first voxel of the map's maximum
    box.get_by_role("button", name="Go to bone").click()
    box.get_by_role("checkbox", name="crosshair").uncheck()
    settle(page)
    assert reading(box)[1] == MARKS.bone
    mm = {"bone": (1.25, 10.0), "edge": (10.0 / 2, 11.0), "map": (8.75, 10.0), "beside": (11.25, 14.0)}
    places = [place(transverse, 0, (*at, 0.0), extent) for at in mm.values()]
    bare = [voxels[2, 12, 12], None, voxels[17, 12, 12], voxels[22, 17, 12]]
    seen = colours(transverse, places)
    np.testing.assert_allclose(seen[0], [0xE6, 0x9F, 0x00], atol=2)
    assert seen[1, 1] - seen[1, 0] > 100  # green; the line's place between pixels makes it lighter or darker
    top = 255 * np.array(planes.veil()(255)[:3])
    np.testing.assert_allclose(seen[2], 0.25 * float(bare[2]) + 0.75 * top, atol=3)
    np.testing.assert_allclose(seen[3], bare[3], atol=1)
    for name in ("region of interest", "bone", "saliency"):
        box.get_by_role("checkbox", name=name).uncheck()
    settle(page)
    seen = colours(transverse, places)
    assert (np.ptp(seen, axis=1) == 0).all()
    np.testing.assert_allclose(seen[[0, 2, 3], 0], [bare[0], bare[2], bare[3]], atol=1)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_it_fits_and_has_names(opened: Callable[..., Any], width: int, scheme: str) -> None:
    page = opened(width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelectorAll('main [id]').length") == 0
    inputs = "[...document.querySelectorAll('input')].every((i) => i.labels.length && i.labels[0].innerText.length > 3)"
    assert page.evaluate(inputs)
    assert page.evaluate("[...document.querySelectorAll('canvas')].every((c) => c.getAttribute('aria-label'))")
    tops = [canvas.bounding_box()["y"] for canvas in page.locator(BOX.format(0)).locator("canvas").all()]
    assert (len({round(top) for top in tops}) == 3) == (width == 390)


def test_a_finger_taps(opened: Callable[..., Any], voxels: np.ndarray) -> None:
    page = opened(390, has_touch=True, is_mobile=True)
    box = page.locator(BOX.format(0))
    transverse = box.locator("canvas").first
    x, y = place(transverse, 0, tuple(np.multiply((22.5, 6.5, 0), SPACING)), tuple(np.multiply(voxels.shape, SPACING)))
    transverse.tap(position={"x": x, "y": y})
    settle(page)
    assert reading(box) == (voxels[22, 6, 10], (22, 6, 10))


def test_paper_and_readers_without_scripts_get_the_still_picture(opened: Callable[..., Any]) -> None:
    page = opened()
    pictures, stages = page.locator(".mflib-view-still"), page.locator(".mflib-view-stage")
    assert not pictures.first.is_visible() and stages.first.is_visible()
    page.emulate_media(media="print")
    assert pictures.first.is_visible() and not stages.first.is_visible()
    plain = opened(runs=False)
    assert plain.locator(".mflib-view-still").first.is_visible()
    assert plain.locator(".mflib-view-stage").count() == 0


def test_a_browser_that_cannot_unpack_says_so(chromium: Any, report: Path) -> None:
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(report.as_uri())
    page.wait_for_selector("text=cannot be clicked through in this browser")
    assert page.locator(".mflib-view-still").first.is_visible()
    context.close()


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """A server on a folder; its address with the token."""
    settings = folder / "settings"
    environment = os.environ | {f"JUPYTER_{kind}_DIR": str(settings / kind) for kind in ("CONFIG", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ip=127.0.0.1", "--allow-root"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class="]
    command[-1] += "jupyterlab.NeverCheckForUpdate"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            found = list((settings / "RUNTIME").glob("jpserver-*.json"))
            if found:
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        facts = json.loads(found[0].read_text())
        yield f"{facts['url']}lab/tree/{{}}?token={facts['token']}"
    finally:
        # A server that is asked to end sometimes waits for its kernel for ever.
        for process in (*psutil.Process(server.pid).children(recursive=True), server):
            process.kill()
        server.wait()


@pytest.mark.slow
def test_the_same_in_jupyterlab(chromium: Any, tmp_path: Path, voxels: np.ndarray) -> None:
    np.save(tmp_path / "voxels.npy", voxels)
    lines = [
        "import numpy as np",
        "from mflib.show.viewer import view",
        "from mflib.data.volume import Volume",
        f"view(Volume(np.load('voxels.npy'), {SPACING}))",
    ]
    code = nbformat.v4.new_code_cell("\n".join(lines))
    nbformat.write(nbformat.v4.new_notebook(cells=[code], metadata=KERNEL), tmp_path / "fresh.ipynb")
    # Somebody else's outputs are not trusted: JupyterLab takes their scripts away.
    old = nbformat.v4.new_output("execute_result", {"text/html": view(Volume(voxels, SPACING)).html}, execution_count=1)
    code = nbformat.v4.new_code_cell("1", outputs=[old], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[code], metadata=KERNEL), tmp_path / "foreign.ipynb")
    with jupyterlab(tmp_path) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(address.format("fresh.ipynb"))
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click(timeout=120_000)
        # The notebook's own indicator says idle before there is a kernel, and what is run then is lost.
        page.wait_for_selector('.jp-StatusBar-TextItem:text("| Idle")', timeout=120_000)
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".mflib-view-running", timeout=120_000)
        box = page.locator("figure.mflib-view")
        box.get_by_role("slider", name="transverse").fill("3")
        box.get_by_role("slider", name="transverse").focus()
        settle(page)
        assert reading(box) == (voxels[15, 12, 3], (15, 12, 3))
        # Keys belong to the viewer, not to JupyterLab's cells.
        for key in ("ArrowUp", "ArrowRight", "d", "d"):
            page.keyboard.press(key)
        settle(page)
        assert reading(box) == (voxels[15, 12, 5], (15, 12, 5))
        page.goto(address.format("foreign.ipynb"))
        picture = page.locator(".jp-OutputArea img[alt^='Ultrasound volume']")
        picture.wait_for(timeout=120_000)
        assert picture.is_visible() and page.locator("canvas[role=application]").count() == 0
        context.close()


@pytest.mark.slow
def test_keys_move_the_slider_of_a_chart_in_jupyterlab(chromium: Any, tmp_path: Path) -> None:
    outputs = [nbformat.v4.new_output("display_data", {LIVE: MADE["decision"]()})]
    cells = [
        nbformat.v4.new_code_cell("from mflib import Study\nStudy.open()"),
        nbformat.v4.new_markdown_cell("# Below"),
    ]
    cells.append(nbformat.v4.new_code_cell("1", outputs=outputs))
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), tmp_path / "chart.ipynb")
    with jupyterlab(tmp_path) as address:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address.format("chart.ipynb"))
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click(timeout=120_000)
        page.wait_for_selector('.jp-StatusBar-TextItem:text("| Idle")', timeout=120_000)
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector("text=Profile quick on", timeout=120_000)
        slider = page.locator(".jp-OutputArea input[type=range]")
        slider.click(timeout=120_000)
        before = int(slider.input_value())
        for key in ("ArrowRight", "ArrowUp", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
        assert int(slider.input_value()) == before + 2 * int(slider.get_attribute("step"))
        page.close()
