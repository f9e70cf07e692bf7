"""The tool in JupyterLab, driven by a real browser: what is clicked is what stands in the file."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mflib.base.words import KEY
from mflib.data.annotation.tool import prepare
from mflib.data.cohort import volume_path
from mflib.data.cohort_tables import ANNOTATIONS
from mflib.data.phantom.anatomy import Parameters
from mflib.data.phantom.simulation import simulate
from mflib.data.volume import write

TOKEN = "only-for-this-test"
TOOL = ".mflib-annotate"


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A folder with three volumes and nothing else, and the true marks of each."""
    root, truth = tmp_path_factory.mktemp("clinic"), []
    for n, (level, side) in enumerate((("L23", "L"), ("L23", "R"), ("L34", "R"))):
        volume, annotation = simulate(Parameters(0.2, side=side), seed=n)
        write(volume, root / volume_path("sub-01", level, side))
        truth.append(annotation)
    return root, truth


@pytest.fixture(scope="module")
def lab(clinic, tmp_path_factory):
    """The address of a JupyterLab that was started as the command starts it; it keeps to a folder of its own."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp": {"port": port, "port_retries": 0, "open_browser": False, "allow_root": True, "ip": "127.0.0.1"},
        "IdentityProvider": {"token": TOKEN},
    }
    (home / "config").mkdir()
    (home / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run", "HOME": ""}
    environment = os.environ | {name: str(home / place) for name, place in places.items()}
    script = "import sys, pathlib; from mflib.data.annotation import launch; launch(pathlib.Path(sys.argv[1]), 'ab')"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", script, str(clinic[0])], env=environment, stdout=log, stderr=log, cwd=home
        )
    yield f"http://127.0.0.1:{port}/lab/tree/annotate.ipynb?token={TOKEN}", server, home / "log"
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def page(lab, chromium):
    url, server, log = lab
    opened = chromium.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(90_000)
    while "is running at" not in log.read_text():
        assert server.poll() is None, log.read_text()
        opened.wait_for_timeout(100)
    opened.goto(url)
    run_all(opened)
    return opened


def run_all(page):
    """Run > Run All Cells, once the kernel is there; then the tool has the keys."""
    page.wait_for_selector('.jp-StatusBar-TextItem:text("| Idle")')
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(f"{TOOL}[data-position]:focus")


def place(page, plane, across, down):
    """Where a voxel's middle lies on the screen; the planes fill their canvases."""
    box = page.locator(f'{TOOL} canvas[data-plane="{plane}"]').bounding_box()
    shape = {"transverse": (128, 128), "sagittal": (48, 128), "coronal": (128, 48)}[plane]
    fractions = ((at + 0.5) / n for at, n in zip((across, down), shape, strict=True))
    x, y = (
        start + fraction * length
        for start, fraction, length in zip((box["x"], box["y"]), fractions, (box["width"], box["height"]), strict=True)
    )
    return x, y


def click(page, plane, across, down):
    page.mouse.click(*place(page, plane, across, down))


def says(page, what):
    """Wait until the tool's panel says something."""
    page.locator(f"{TOOL} .panel").get_by_text(re.compile(what)).first.wait_for()


def at_volume(page, position):
    page.wait_for_selector(f'{TOOL}[data-position="{position}"]')


def rows(root):
    path: Path = root / ANNOTATIONS
    if not path.exists():
        return {}
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return {tuple(row[key] for key in KEY): row for row in table.to_dict("records")}


def voxel(row, prefix):
    return [int(row[prefix + axis]) for axis in "ijk"]


@pytest.mark.browser
@pytest.mark.slow
def test_an_annotators_way_through_three_volumes(page, clinic):
    root, truth = clinic
    # The first volume: two clicks and a dragged region, each elsewhere than what was suggested.
    says(page, "suggestion, not confirmed: ROI, bone, shadow|suggestion, not confirmed: bone, ROI, shadow")
    assert rows(root) == {}
    # It is in view and has the keys, which would add cells if the notebook took them.
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    box = page.locator(f"{TOOL} .planes").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"]
    assert page.locator(".Toastify__toast").count() == 0
    bone, shadow = truth[0].bone, truth[0].shadow
    page.keyboard.press("b")
    click(page, "transverse", bone[0] - 2, bone[1] + 1)
    says(page, "suggestion, not confirmed: ROI, shadow|suggestion, not confirmed: roi")
    click(page, "transverse", shadow[0] + 1, shadow[1] + 5)
    says(page, "suggestion, not confirmed: ROI$")
    plane = int(page.locator(TOOL).get_attribute("data-cut").split()[2])
    page.keyboard.press("r")
    sizes = [int(page.locator(f'{TOOL} [data-size="{axis}"]').input_value()) for axis in range(3)]
    # At L2/3 the suggestion ends at that level's usual cleft; near the spinous process it is what was simulated.
    across = truth[0].roi_start[0] + truth[0].roi_size[0] - 12
    down = truth[0].roi_start[1] + truth[0].roi_size[1] // 2
    page.mouse.move(*place(page, "transverse", across, down))
    page.mouse.down()
    page.mouse.move(*place(page, "transverse", across + 2, down + 3), steps=3)
    page.mouse.move(*place(page, "transverse", across - 3, down - 4), steps=3)
    page.mouse.up()
    says(page, "^not confirmed$")
    page.keyboard.press("Enter")
    at_volume(page, 1)
    first = rows(root)["sub-01", "L23", "L"]
    assert voxel(first, "bone_") == pytest.approx([bone[0] - 2, bone[1] + 1, plane], abs=1)
    assert voxel(first, "shadow_") == pytest.approx([shadow[0] + 1, shadow[1] + 5, plane], abs=1)
    assert voxel(first, "roi_n") == sizes
    assert (first["annotator"], first["quality"], first["quality_reason"]) == ("AB", "ok", "n/a")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["annotated_at"])

    # The second: excluded by keys.
    page.keyboard.press("x")
    page.keyboard.press("4")
    says(page, "excluded by AB: motion")
    assert rows(root)["sub-01", "L23", "R"]["quality_reason"] == "motion"
    page.keyboard.press("z")
    says(page, "undone")
    assert list(rows(root)) == [("sub-01", "L23", "L")]
    page.keyboard.press("y")
    says(page, "excluded by AB: motion")
    page.keyboard.press("n")
    at_volume(page, 2)
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells

    # A region is resized by its corner; where it was dragged to is what the sagittal plane shows, and it undoes.
    page.keyboard.press("r")
    size = page.locator(f'{TOOL} [data-size="2"]')
    before = int(size.input_value())
    size.fill(str(before - 10))
    size.press("Tab")
    says(page, "suggestion, not confirmed: bone, shadow")
    assert int(size.input_value()) == before - 10

    # A lost kernel and a new page: on with the first volume that nobody confirmed.
    page.reload()
    page.wait_for_selector('.jp-StatusBar-TextItem:text("| Idle")')
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(re.compile("Restart Kernel and Run All")).click()
    page.locator(".jp-Dialog button.jp-mod-warn, .jp-Dialog button.jp-mod-accept").last.click()
    page.wait_for_selector(f"{TOOL}[data-position]:focus")
    at_volume(page, 2)
    says(page, "2 of 3 confirmed")
    page.locator(f"{TOOL} [data-do=confirm]").click()
    says(page, "3 of 3 confirmed")
    assert len(rows(root)) == 3


def test_the_prepared_notebook_holds_the_settings_and_nothing_else(clinic, tmp_path):
    root = shutil.copytree(clinic[0], tmp_path / "clinic", ignore=shutil.ignore_patterns("derivatives"))
    notebook = json.loads(prepare(root, "cd", second=True).read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [f'cohort_folder = "{root}"', 'annotator = "CD"', "second = True"] == code[1].splitlines()[1:]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
