"""Can the volumes be trusted: gain, saturation, shadow, grey levels, spacing, and whether brightness drifts."""

from mflib.quality.table import COLUMNS, Quality, measure
from mflib.quality.thumbnail import Thumbnail
from mflib.quality.trend import drift

__all__ = ["COLUMNS", "Quality", "Thumbnail", "drift", "measure"]
