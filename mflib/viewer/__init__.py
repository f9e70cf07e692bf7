"""One volume as an offline triplanar picture, the same in JupyterLab and in the report."""

from mflib.viewer.checks import ViewError
from mflib.viewer.html import View, view
from mflib.viewer.scene import MAX_VOXELS

__all__ = ["MAX_VOXELS", "View", "ViewError", "view"]
