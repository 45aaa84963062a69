"""Convert the stored values of a DICOM image to grey, in the standard's order (PS3.4 N.2).

Modality LUT or rescale, then VOI LUT or window, then inversion for MONOCHROME1. Each step depends
on a single value, and an image has at most 2^16 distinct values. So the chain is computed once for
each storable value, and the image itself is one table look-up.

- A VOI LUT takes precedence over a window; of several windows the first usable one is used.
- A LUT whose entries need other bits than it declares is scaled by the bits that they need.
- Without either, an image of up to 8 bits keeps its nominal range, like the same image as PNG; a
  deeper one is stretched over its own range (`stretch_range`), like the same values as 16-bit PNG.
- Padding (Pixel Padding Value) does not belong to the image and becomes black, also where it needs
  more bits than Bits Stored.
- Overlays, presentation LUTs and shutters are not applied.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.dicom.lookup_tables import as_signed, lookup_table, needed_bits

if TYPE_CHECKING:
    from pydicom import Dataset

Values = npt.NDArray[np.float64]
StoredValues = npt.NDArray[np.integer]
_OUTERMOST, _BRIGHT = 0.001, 0.02  # shares of the pixels


def to_grey(stored: StoredValues, header: Dataset) -> npt.NDArray[np.uint8]:
    """Convert stored values (H, W) to grey (H, W), bright = dense, as their header says.

    Raises:
        ValueError: for a lookup table or scale that violates the standard.
    """
    return to_greys(stored, header)[0]


def to_greys(
    stored: StoredValues, header: Dataset
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16] | None]:
    """The grey of `to_grey`, and the same in 0..65535 if that has more than 8 bits.

    Raises:
        ValueError: for a lookup table or scale that violates the standard.
    """
    ramp = stored_range(header)
    shown = shown_values(stored, header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1.0 - shown
    shown = np.where(_padding(ramp, header), 0.0, shown)
    places, outside = _places(stored, ramp), _padding_outside(stored, header)
    grey = eight_bits(shown)[places]
    grey[outside] = 0
    if int(header.BitsStored) <= 8:
        return grey, None
    deep = sixteen_bits(shown)[places]
    deep[outside] = 0
    return grey, None if is_eight_bits(grey, deep) else deep


def is_eight_bits(grey: npt.NDArray[np.uint8], deep: npt.NDArray[np.uint16]) -> bool:
    """Whether the deeper grey tells nothing more: it is then scaled as the same image of 8 bits."""
    return np.array_equal(deep, grey.astype(np.uint16) * 257)


def eight_bits(shown: Values) -> npt.NDArray[np.uint8]:
    """0..1 as grey values 0 to 255."""
    return np.rint(255.0 * shown).astype(np.uint8)


def sixteen_bits(shown: Values) -> npt.NDArray[np.uint16]:
    """0..1 as grey values 0 to 65535."""
    return np.rint(65535.0 * shown).astype(np.uint16)


def shown_values(stored: StoredValues, header: Dataset) -> Values:
    """0..1 for each value of `stored_range`: modality LUT and VOI LUT or window, not yet inverted.

    Without a window the range is that of the image's own values (H, W).
    """
    values = modality_values(stored_range(header), header)
    shown = _voi_lut(values, header)
    if shown is None:
        shown = _windowed(values, header)
    if shown is None:
        darkest, brightest = contrast_range(stored, header)
        shown = np.clip((values - darkest) / max(brightest - darkest, 1e-9), 0.0, 1.0)
    return shown


def stored_range(header: Dataset) -> npt.NDArray[np.int64]:
    """Every value that a pixel can store, in ascending order."""
    bits = int(header.BitsStored)
    low = -(2 ** (bits - 1)) if header.PixelRepresentation == 1 else 0
    return np.arange(low, low + 2**bits, dtype=np.int64)


def modality_values(stored: npt.NDArray[np.int64], header: Dataset) -> Values:
    """Modality LUT (PS3.3 C.11.1): its table, slope and intercept, or the values unchanged."""
    if header.get("ModalityLUTSequence"):
        table, first, _ = lookup_table(header.ModalityLUTSequence[0], signed=bool(stored[0] < 0))
        return table[np.clip(stored - first, 0, len(table) - 1)]
    slope = _number(header, "RescaleSlope", 1.0)
    intercept = _number(header, "RescaleIntercept", 0.0)
    if slope == 0:
        raise ValueError("RescaleSlope is 0, which makes all pixels equal; correct the file")
    return np.asarray(slope * stored + intercept, dtype=np.float64)


def usable_window(header: Dataset) -> tuple[float, float, str] | None:
    """Center, width and function of the first usable window; None if no window has a width.

    A window of one grey value, which viewers show as black and white, counts only if it is the
    only one; so does a window beside all values that a pixel can have.

    Raises:
        ValueError: for an unknown VOI LUT Function.
    """
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(
            f"VOILUTFunction {function[:16]!r} is unknown; expected LINEAR, LINEAR_EXACT or SIGMOID"
        )
    least = 1.0 if function == "LINEAR" else 1e-9
    pairs = zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False)
    usable = [(c, w) for c, w in pairs if w >= least and math.isfinite(c + w)]
    if len(usable) > 1:
        usable = [pair for pair in usable if pair[1] > 1] or usable
        usable = [pair for pair in usable if _shows_something(*pair, header)] or usable
    return (*usable[0], function) if usable else None


def _shows_something(center: float, width: float, header: Dataset) -> bool:
    """Whether a window reaches into the values that a pixel can have."""
    values = modality_values(stored_range(header), header)
    return bool(center - width / 2 < values.max() and values.min() < center + width / 2)


def stretch_range(values: Values, counts: npt.NDArray[np.integer]) -> tuple[float, float]:
    """The values shown as black and as white where a file does not state a window.

    The darkest and the brightest .1 % of the pixels are left out. So are burnt-in letters and hot
    pixels: what lies more than twice as far above black as the 98th percentile does.

    Args:
        values: (V,) distinct values, ascending.
        counts: (V,) pixels of each, some of them not 0.
    """
    present = counts > 0
    values, counts = values[present], counts[present]
    below, total = np.cumsum(counts), counts.sum()
    low = float(values[np.searchsorted(below, _OUTERMOST * total, side="right")])
    high, bright = (
        float(values[np.searchsorted(below, (1 - share) * total, side="left")])
        for share in (_OUTERMOST, _BRIGHT)
    )
    limit = low + 2 * (bright - low)
    if bright > low and high > limit:
        high = float(values[values <= limit].max())
    return low, high


def true_bits(stored: StoredValues, header: Dataset) -> int:
    """Bits that the pixels use: Bits Stored, or more if values beyond it would wrap around.

    Bits above Bits Stored may hold an overlay, which the file then declares, or padding.
    """
    bits = int(header.BitsStored)
    overlays = any(e.tag.group >> 8 == 0x60 and e.value for e in header)
    if header.PixelRepresentation == 1 or overlays:
        return bits
    inside = ~_padding_outside(stored, header)
    greatest = int(stored.max(initial=0, where=inside))
    return max(bits, greatest.bit_length())


def contrast_range(stored: StoredValues, header: Dataset) -> tuple[float, float]:
    """Values after the modality LUT that are black and white in an image without a window.

    Up to 8 bits, the storable values count; above, see `stretch_range`. Padding is ignored.
    """
    if int(header.BitsStored) <= 8:
        return own_range(stored, header)
    ramp = stored_range(header)
    counts = _counts(stored, header)
    if not counts.any():
        return 0.0, 0.0
    values = modality_values(ramp, header)
    order = np.argsort(values, kind="stable")  # a negative slope turns them round
    return stretch_range(values[order], counts[order])


def own_range(stored: StoredValues, header: Dataset) -> tuple[float, float]:
    """Smallest and largest value after the modality LUT.

    Up to 8 bits, the storable values count; above, the values present. Padding is ignored.
    """
    ramp = stored_range(header)
    seen = ~_padding(ramp, header)
    if int(header.BitsStored) > 8:
        seen &= _counts(stored, header) > 0
    values = modality_values(ramp, header)[seen]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def _counts(stored: StoredValues, header: Dataset) -> npt.NDArray[np.intp]:
    """Pixels of each value of `stored_range`, without padding."""
    ramp = stored_range(header)
    inside = stored[~_padding_outside(stored, header)]
    counts = np.bincount(_places(inside, ramp).ravel(), minlength=len(ramp))
    counts[_padding(ramp, header)] = 0
    return counts


def plain_values(stored: StoredValues, header: Dataset) -> StoredValues:
    """Stored values (H, W) in 16 bits, with the bits above BitsStored cleared."""
    ramp = stored_range(header)
    values = ramp.astype(np.int16 if ramp[0] < 0 else np.uint16)
    return values[_places(stored, ramp)]


def _places(stored: StoredValues, ramp: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Index of each pixel in the ramp; bits above BitsStored (an overlay's, say) are ignored."""
    return (stored.astype(np.int32) - np.int32(ramp[0])) & np.int32(len(ramp) - 1)


def _windowed(values: Values, header: Dataset) -> Values | None:
    """Window in 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3), or None without a usable one."""
    window = usable_window(header)
    if window is None:
        return None
    center, width, function = window
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)
        return np.asarray(1.0 / (1.0 + np.exp(exponent)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.asarray(values > center - 0.5, dtype=np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _voi_lut(values: Values, header: Dataset) -> Values | None:
    """First VOI LUT (PS3.3 C.11.2.1.1) in 0..1, or None without one."""
    if not header.get("VOILUTSequence"):
        return None
    table, first, _ = lookup_table(header.VOILUTSequence[0], signed=bool(values.min() < 0))
    places = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)
    return np.asarray(table[places] / (2.0 ** needed_bits(table) - 1.0))


def _padding(stored: npt.NDArray[np.int64], header: Dataset) -> npt.NDArray[np.bool_]:
    """Which stored values are padding: one value, or all up to Pixel Padding Range Limit."""
    first = header.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = header.get("PixelPaddingRangeLimit")
    signed = header.PixelRepresentation == 1
    ends = sorted(as_signed(int(end), signed) for end in (first, first if last is None else last))
    return (stored >= ends[0]) & (stored <= ends[1])


def _padding_outside(stored: StoredValues, header: Dataset) -> npt.NDArray[np.bool_]:
    """(H, W) padding of more bits than Bits Stored: masking them would turn it into an image."""
    ramp = stored_range(header)
    values = stored.astype(np.int64)
    outside: npt.NDArray[np.bool_] = (values < ramp[0]) | (values > ramp[-1])
    return _padding(values, header) & outside if outside.any() else outside


def _number(header: Dataset, keyword: str, default: float) -> float:
    """First value of a numeric attribute; `default` if it is absent or not a number."""
    return next(iter(numbers(header, keyword)), default)


def numbers(header: Dataset, keyword: str) -> list[float]:
    """The values of a numeric attribute."""
    value = header.get(keyword)
    if value is None or value == "":
        return []
    return [float(v) for v in ([value] if isinstance(value, int | float | str) else value)]
