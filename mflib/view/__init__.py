"""One volume as an offline triplanar picture, the same in JupyterLab and in the report."""

from mflib.view.html import View, view
from mflib.view.scene import MAX_VOXELS, ViewError

__all__ = ["MAX_VOXELS", "View", "ViewError", "view"]
