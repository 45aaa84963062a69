"""The words of the comparison, printed with the results (`compare_localizers --explain`)."""

from __future__ import annotations

RESEARCH_USE = "Research use only - not a diagnosis"

TOP_1_RULE = (
    "top-1: of a localizer's boxes for an image and a disease the one with the highest score "
    "counts (equal scores: the first in the file)"
)
MISS_RULE = "a box without a prediction is a miss and counts as 0, never as missing data"
DEEP_MEDIA_NOTE = (
    "Deep MedIA's report prints these figures as 'T(IoBB)' but defines them as the share of boxes "
    "with IoU over the threshold: they are acc_iou, and stand under that name"
)

EXPLANATION = f"""\
The words of the comparison
P = predicted box, G = ground-truth box, |.| = area in pixels of the original image.

IoU         |P and G| / |P or G|: how well two boxes agree, 0 to 1.
IoBB        |P and G| / |P|: the share of the predicted box that lies on the ground truth
            (Wang et al. 2017: intersection over the detected box).
IoGT        |P and G| / |G|: the share of the ground truth that is covered.
            Always IoBB >= IoU, and 1/IoU = 1/IoBB + 1/IoGT - 1. A one-pixel box inside G has an
            IoBB of 1, so IoBB never stands without IoGT beside it.
T(IoU), T(IoBB)
            thresholds; the test is strict: IoU > t.
acc_iou@t   share of the ground-truth boxes whose predicted box has IoU > t.
acc_iobb@t  the same with IoBB > t.   acc_iogt@t  the same with IoGT > t.
            {DEEP_MEDIA_NOTE}.
AFP@t       boxes that fail the test / 984 (Wang et al.; only that denominator makes their tables
            integers). Kept with the published figures, not computed here.
miss        {MISS_RULE}.
top-1       the default. {TOP_1_RULE[7:]}.
any         Wang's rule: the best over all boxes of that image and disease; always its own column.
            Its IoGT is that of the box with the best IoBB.
disease given
            the localizer was told which disease is there and asked where: what a file of
            predictions holds.
gated       a box counts only where the gate says that the disease is present; where it does not,
            the ground-truth box is a miss.
control     a box that never looks at the image: prior_box (the disease's median box over OTHER
            patients), center_box, random_map. A localizer has to beat them.
macro mean  mean over the diseases, each disease with equal weight.
[low, high] 95 % interval: percentiles over resamples of patients (all boxes of a patient together),
            the same resamples for every localizer. A disease that has no box in a resample is left
            out of that resample's macro mean; how often that happened is printed.
difference  one localizer minus another on the same resamples. An interval that excludes zero: more
            than the chance of which patients were drawn explains.
oracle      a figure whose threshold was chosen on the boxes being scored. None is printed here.
published   figures of others, scored on THEIR images, not on those of this ground truth.

{RESEARCH_USE}.
"""
