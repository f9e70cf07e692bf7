"""Text that is burnt into the pictures: found by what sets it apart from tissue, then masked and told, or refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mflib.base.errors import FileError
from mflib.base.words import percent

# A pixel never changes where it changes by less than a quarter of this percentile of all changes, as a grabbed screen
# has noise of its own; and the grey levels by which that percentile must change at least.
STILL, BUSY, LEAST_CHANGE = 4, 95, 20
# Grey levels of black; pixels by which compression spreads a text.
DARK, BLUR = 32, 3
FEWEST_FRAMES, FEWEST_FOR_WORDS = 4, 8
# How much brighter a stroke over tissue is than what lies within so many pixels; how far its surroundings reach.
RAISED, STROKE_WITHIN, AROUND = 48, 9, 31
# Grey levels within which a quarter of a word's strokes stay; a quarter of a fascia's in the phantom changes by 24.
STEADY = 22
LOWEST_WORD, HIGHEST_WORD, FEWEST_CROSSINGS, TALL = 5, 48, 3, 0.6
# Grey level of the dimmest border, contrast of the faintest stroke where nothing changes, pixels of the smallest and
# the largest letter, crossings a pixel of which words have more, and the share of a bar that its words fill.
DIM, FAINT, LOWEST_LETTER, LARGEST_LETTER, SPARSE, BAR = 8, 10, 4, 64, 0.1, 0.25
Mask = NDArray[np.bool_]


def find_text(frames: NDArray[np.uint8]) -> Mask | None:
    """Where text, scales and logos are burnt into a stack of frames.

    Parameters
    ----------
    frames : (n, rows, columns) grey levels

    Returns
    -------
    Mask or None
        (rows, columns), True where something is burnt in. None where it cannot be told: with fewer than four frames, or
        where next to nothing changes. Words over tissue are only looked for in eight frames and more.
    """
    low, high = frames.min(axis=0), frames.max(axis=0)
    change = np.percentile(high - low, BUSY)
    if len(frames) < FEWEST_FRAMES or change < LEAST_CHANGE:
        return None
    still = high - low <= change / STILL
    plain = _plain(still, low)
    found = _bands(still, np.where(plain, 0, low))
    found |= _on_black(still & ~found & ~plain, low, high, found)
    found &= ~plain
    if len(frames) >= FEWEST_FOR_WORDS:
        found |= _words(np.where(found, 0, low), np.where(found, 0, high))
    return found


def places_of_text(mask: Mask) -> str:
    """The masked parts in words: rows and columns of each connected one, the largest six."""
    boxes = ndimage.find_objects(ndimage.label(ndimage.binary_dilation(mask, iterations=6))[0])
    trimmed = [np.argwhere(mask[box]) + [s.start for s in box] for box in boxes]
    largest = sorted(trimmed, key=len, reverse=True)[:6]
    return "; ".join(map(_place, largest)) + (f"; and {len(trimmed) - 6} more" if len(trimmed) > 6 else "")


def _place(pixels: NDArray[np.intp]) -> str:
    """Rows and columns of masked pixels (n, 2); a frame around the picture is no rectangle of it."""
    (top, left), (bottom, right) = pixels.min(axis=0), pixels.max(axis=0)
    whole = len(pixels) / ((bottom - top + 1) * (right - left + 1))
    return f"rows {top}-{bottom}, columns {left}-{right}" + (f" ({percent(whole)} of these)" if whole < 0.9 else "")


def _bands(still: Mask, low: NDArray[np.uint8]) -> Mask:
    """Border rows, then columns, in which nothing changes, as far as they hold more than one even grey."""
    found = np.zeros(still.shape, bool)
    for mask, calm, level in ((found, still, low), (found.T, still.T, low.T)):
        moving = np.flatnonzero(~calm.all(axis=1))
        # From the border inwards, without what the rows hold already.
        left = np.where(mask, 0, level)
        for band in (slice(0, moving[0]), slice(len(level) - 1, moving[-1], -1)):
            lit = np.flatnonzero((left[band] > DARK).any(axis=1))
            if lit.size and np.ptp(left[band]) > DARK:
                mask[band][: lit[-1] + 1 + BLUR] = True
    return found


def _plain(still: Mask, low: NDArray[np.uint8]) -> Mask:
    """Borders, and rings around a probe, that never change either: too large for letters, and no row crosses many.

    What stands in them and is as small as letters is left out; where that is much of a shape, it is a bar of words.
    """
    lit, writing = still & (low > DIM), np.zeros(still.shape, bool)
    # Specks are tissue that happens to stay, slivers of dark lie along each ring.
    for contrast, extent in ((ndimage.white_tophat, max), (ndimage.black_tophat, min)):
        strokes = lit & (contrast(low, STROKE_WITHIN) > FAINT)
        # A line under a word must not make one shape with it.
        strokes &= ~ndimage.binary_opening(strokes, np.ones((1, LARGEST_LETTER)))
        for box, stroke in _shapes(strokes):
            if extent(stroke.shape) >= LOWEST_LETTER and not _is_plain(stroke):
                writing[box] |= stroke
    writing = ndimage.binary_dilation(writing, np.ones((STROKE_WITHIN, STROKE_WITHIN)))
    found = np.zeros(still.shape, bool)
    for box, shape in _shapes(lit):
        if _is_plain(shape) and writing[box][shape].mean() < BAR:
            found[box] |= shape & ~writing[box]
    return found


def _shapes(mask: Mask) -> list[tuple[tuple[slice, ...], Mask]]:
    """Connected parts of a mask, each with its box."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return [(box, labels[box] == n) for n, box in enumerate(ndimage.find_objects(labels), start=1)]


def _is_plain(shape: Mask) -> bool:
    """Whether a shape is larger than letters, and lines along it cross it as seldom as rings and borders."""
    along = shape if shape.shape[1] >= shape.shape[0] else shape.T
    return along.shape[1] > LARGEST_LETTER and _crossings(along) < SPARSE * along.shape[1]


def _crossings(shape: Mask) -> float:
    """How often a row enters a shape, on average."""
    return float((np.diff(shape.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1).mean())


def _on_black(still: Mask, low: NDArray[np.uint8], high: NDArray[np.uint8], gone: Mask) -> Mask:
    """Things that never change and are surrounded by black that never changes: text, scales, logos."""
    things, black = still & (low > DARK), gone | (still & (high <= DARK))
    found = np.zeros(still.shape, bool)
    labels, _ = ndimage.label(ndimage.binary_dilation(things, np.ones((3, 3)), iterations=2))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
        thing = labels[wide] == number
        around = ndimage.binary_dilation(thing, np.ones((3, 3)), iterations=3) & ~thing
        if black[wide][around].mean() >= 0.8 if around.any() else True:
            # Noise and compression make single pixels of a stroke change, so all of its surroundings go with it.
            found[box] |= still[box] | (labels[box] == number)
    return found


def _words(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> Mask:
    """Boxes around words over tissue, from each pixel's darkest and brightest grey level over all frames.

    A stroke stays bright and changes less than half as much as the tissue around it. In a word most of them reach from
    top to bottom and each row crosses several; a fascia that stays is one line, or many low pieces of one.
    """
    spread = (high - low).astype(np.float32)
    calm = 2 * spread < ndimage.uniform_filter(spread, AROUND)
    strokes = calm & (ndimage.white_tophat(low, STROKE_WITHIN) > RAISED)
    labels, _ = ndimage.label(ndimage.binary_dilation(strokes, np.ones((1, STROKE_WITHIN))))
    shapes = [(box, strokes[box] & (labels[box] == n)) for n, box in enumerate(ndimage.find_objects(labels), start=1)]
    steady = [(box, shape) for box, shape in shapes if np.percentile(spread[box][shape], 25) <= STEADY]
    lines = [box[0] for box, shape in steady if _is_word(shape)]
    found = np.zeros(strokes.shape, bool)
    for box, _ in steady:
        if any(_share_a_line(box[0], line) for line in lines):
            found[box] = True
    return ndimage.binary_dilation(found, np.ones((3, 3)), iterations=2)


def _share_a_line(rows: slice, line: slice) -> bool:
    shared = min(rows.stop, line.stop) - max(rows.start, line.start)
    return shared >= (line.stop - line.start) / 2


def _is_word(shape: Mask) -> bool:
    height, width = shape.shape
    if not LOWEST_WORD <= height <= HIGHEST_WORD or width < 2 * height or _crossings(shape) < FEWEST_CROSSINGS:
        return False
    tall = [letter.sum() for (rows, _), letter in _shapes(shape) if rows.stop - rows.start >= TALL * height]
    return bool(sum(tall) >= TALL * shape.sum())


# Fewest distinct values of a picture; a mask has fewer.
FEWEST_LEVELS = 8


def _refuse_nothing(voxels: NDArray[np.uint8], where: str) -> None:
    """Refuse grey levels in which there is nothing to see."""
    levels = np.count_nonzero(np.bincount(voxels.ravel(), minlength=256))
    if levels < FEWEST_LEVELS:
        raise FileError(f"{levels} distinct values {where}, expected a picture")


def stays(picture: NDArray[np.uint8], other: NDArray[np.uint8]) -> Mask:
    """Where two coloured pictures (rows, columns, 3) are the same in each channel, as far as a drawn mark is."""
    return (np.abs(picture.astype(np.int16) - other) <= LEAST_CHANGE).all(axis=-1)


LOOK = "look for names in it"
CANNOT_TELL = (
    f"found fewer than {FEWEST_FRAMES} planes, or planes that hardly differ: burnt-in names cannot be told "
    "from tissue there, expected more planes, or DICOM that declares its tissue region or BurnedInAnnotation NO"
)
NOT_FOUND = "says that text is burnt in, and no region or constant band was found to mask: export without it or crop"


def mask_text(planes: NDArray[np.uint8], *, declared: bool = False, said: str = "") -> tuple[Mask, tuple[str, ...]]:
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
    FileError
        Text is burnt in, or may be, and cannot be found.
    """
    _refuse_nothing(planes, "as in a mask")
    mask = find_text(planes)
    if mask is None:
        if not declared and said != "NO":
            raise FileError(CANNOT_TELL)
        notice = f"too few planes, or too little that changes, to tell burnt-in text from tissue: {LOOK}"
        return np.zeros(planes.shape[1:], bool), (notice,)
    if mask.any():
        _refuse_nothing(planes[:, ~mask], "where no burnt-in text stands")
        notices = [f"set to 0 what never changes and looks like burnt-in text: {places_of_text(mask)}"]
    elif declared or said == "NO":
        notices = []
    elif said == "YES":
        raise FileError(NOT_FOUND)
    else:
        notices = [f"no burnt-in text was found, and no tissue region is declared: {LOOK}"]
    if len(planes) < FEWEST_FOR_WORDS:
        few = f"fewer than {FEWEST_FOR_WORDS} planes"
        notices.append(f"{few}, so words that stand over tissue were not looked for: {LOOK}")
    return mask, tuple(notices)
