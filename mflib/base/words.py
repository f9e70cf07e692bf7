"""Keys, labels and the words that tables, figures and pages share."""

from __future__ import annotations

KEY = ["participant_id", "level", "lat"]
LEVEL_NAMES = {"L23": "L2/3", "L34": "L3/4", "L45": "L4/5", "L5S1": "L5/S1"}
LEVELS = tuple(LEVEL_NAMES)  # as the alphabet has them, so keys are sorted along the spine
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
READERS = ["grade_reader1", "grade_reader2"]  # columns of the two readers' grades
GRADE_NAMES = ("none", "mild", "moderate", "severe")
# Of a table of features: all features of one family together.
WHOLE_FAMILY = "all of it"
