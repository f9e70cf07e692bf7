"""NiiVue in JupyterLab, where the optional extra is installed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mflib.viewer.checks import ViewError
from mflib.volume import Volume, write


def widget(volume: Volume) -> Any:
    """A NiiVue widget that shows a volume; its name and sidecar stay behind.

    Raises
    ------
    ViewError
        ipyniivue is not installed.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError as error:
        raise ViewError("engine 'niivue': ipyniivue is not installed; pip install mflib[niivue]") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write(Volume(volume.voxels, volume.spacing_mm), path)
        content = path.read_bytes()  # a widget asks for them again whenever the page is loaded anew
    shown = NiiVue()
    shown.load_volumes([{"name": "volume.nii.gz", "data": content}])
    return shown
