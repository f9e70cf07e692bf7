"""Keys, labels and the words that tables, figures and pages share."""

from __future__ import annotations

KEY = ["participant_id", "level", "lat"]
LEVELS = ("L23", "L34", "L45", "L5S1")  # as the alphabet has them, so keys are sorted along the spine
SIDE_NAMES = {"L": "left", "R": "right"}
SIDES = tuple(SIDE_NAMES)
LABELS = {
    "random_forest": "Random forest",
    "dcnn": "3D network",
    "echo_intensity": "Echo intensity alone",
    "clinical": "Age, sex and BMI",
}
# The three axes of a voxel array; each plane's name, the axes that run right and down in it, and the one that it cuts.
AXES = ("lateral", "depth", "elevation")
Plane = tuple[str, int, int, int]
PLANES: tuple[Plane, ...] = (("transverse", 0, 1, 2), ("sagittal", 2, 1, 0), ("coronal", 0, 2, 1))
NOT_RECORDED = "not recorded"
GRADE_NAMES = ("none", "mild", "moderate", "severe")
# Of a table of features: all features of one family together.
WHOLE_FAMILY = "all of it"
