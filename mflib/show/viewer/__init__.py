"""One volume as an offline triplanar picture, the same in JupyterLab and in the report."""

from mflib.show.viewer.html import View, view
from mflib.show.viewer.scene import MAX_VOXELS

__all__ = ["MAX_VOXELS", "View", "view"]
