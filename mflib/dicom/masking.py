"""What becomes of burnt-in text in a stack of any kind of file: it is masked and told, or the stack is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mflib.dicom import burnt_in
from mflib.dicom.elements import DicomError

LOOK = "look for names in it"
CANNOT_TELL = (
    f"found fewer than {burnt_in.FEWEST_FRAMES} planes, or planes that hardly differ: burnt-in names cannot be told "
    "from tissue there, expected more planes, or DICOM that declares its tissue region or BurnedInAnnotation NO"
)
NOT_FOUND = (
    "says that text is burnt in, and no region or constant band was found to mask; export without annotation or crop"
)


def find(planes: NDArray[np.uint8], *, declared: bool = False, said: str = "") -> tuple[burnt_in.Mask, tuple[str, ...]]:
    """Where text is burnt into a stack, and what a person should know of it.

    Parameters
    ----------
    planes : (planes, rows, columns) grey levels
    declared : whether the file says where the tissue is, and the planes are cut to it; a region of all says nothing
    said : BurnedInAnnotation in capitals; empty where the file does not say it

    Returns
    -------
    tuple
        Mask (rows, columns), and notices.

    Raises
    ------
    DicomError
        Text is burnt in, or may be, and cannot be found.
    """
    mask = burnt_in.find(planes)
    if mask is None:
        if not declared and said != "NO":
            raise DicomError(CANNOT_TELL)
        return np.zeros(planes.shape[1:], bool), (
            f"too few planes, or too little that changes, to tell burnt-in text from tissue: {LOOK}",
        )
    if mask.any():
        notices = [f"set to 0 what never changes and looks like burnt-in text: {burnt_in.where(mask)}"]
    elif declared or said == "NO":
        notices = []
    elif said == "YES":
        raise DicomError(NOT_FOUND)
    else:
        notices = [f"no burnt-in text was found, and no tissue region is declared: {LOOK}"]
    if len(planes) < burnt_in.FEWEST_FOR_WORDS:
        few = f"fewer than {burnt_in.FEWEST_FOR_WORDS} planes"
        notices.append(f"{few}, so words that stand over tissue were not looked for: {LOOK}")
    return mask, tuple(notices)
