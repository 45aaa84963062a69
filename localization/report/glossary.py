"""The words of the comparison: what each column and row means, from where, and what it hides.

`compare_localizers --explain` prints all of them, `--explain acc_iou@0.5` one. Every column of
every table has an entry here, by test.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from cxrloc.datasets.files.manifest import RESEARCH_USE

TOP_1_RULE = (
    "top-1: of a localizer's boxes for an image and a disease the one with the highest score "
    "counts (equal scores: the first in the file)"
)
MISS_RULE = "a box without a prediction is a miss and counts as 0, never as missing data"
DEEP_MEDIA_NOTE = (
    "Deep MedIA's report prints these figures as 'T(IoBB)' but defines them as the share of boxes "
    "with IoU over the threshold: they are acc_iou, and stand under that name"
)
SYMBOLS = (
    "P = predicted box, G = ground-truth box, |.| = area in pixels of the original image, "
    "t = threshold; every test is strict (>)."
)
_WANG = "Wang et al., ChestX-ray8, CVPR 2017"


@dataclass(frozen=True)
class Term:
    """One entry of the explanation.

    Attributes:
        definition: what it is, in a sentence or two.
        hides: what a reader could be misled by.
        formula: in the symbols of `SYMBOLS`; empty where the definition says it all.
        source: paper or convention; empty for our own.
        also: other names under which a column may carry it.
    """

    definition: str
    hides: str
    formula: str = ""
    source: str = ""
    also: tuple[str, ...] = ()


TERMS: dict[str, Term] = {
    # --- overlap of two boxes
    "IoU": Term(
        "How well two boxes agree, 0 to 1.",
        "A small box far away and a small box next door both have IoU 0; the same shift costs a "
        "small box more than a large one.",
        "|P and G| / |P or G|",
        "Jaccard 1912",
        ("iou",),
    ),
    "IoBB": Term(
        "The share of the predicted box that lies on the ground truth. Always IoBB >= IoU, and "
        "1/IoU = 1/IoBB + 1/IoGT - 1.",
        "A one-pixel box inside G has IoBB 1: it never stands without IoGT beside it.",
        "|P and G| / |P|",
        f"{_WANG} (intersection over the detected box)",
        ("iobb", "T(IoBB)"),
    ),
    "IoGT": Term(
        "The share of the ground truth that is covered. In the tables: the mean over the same "
        "boxes as the figure that it stands beside.",
        "A box as large as the image has IoGT 1.",
        "|P and G| / |G|",
        "",
        ("iogt",),
    ),
    # --- measures over boxes
    "mean_iou": Term(
        f"Mean IoU over all ground-truth boxes of a disease; {MISS_RULE}.",
        "A mean of many misses and a few good boxes equals a mean of mediocre boxes: see the "
        "boxplots and the error taxonomy.",
        "sum of IoU / number of ground-truth boxes",
        also=("mean IoU",),
    ),
    "mean_iobb": Term(
        "Mean IoBB over all ground-truth boxes of a disease.",
        "Tiny boxes score high: read it with IoGT.",
        "sum of IoBB / number of ground-truth boxes",
    ),
    "mean_iogt": Term(
        "Mean IoGT over all ground-truth boxes of a disease.",
        "Huge boxes score high: read it with IoBB.",
        "sum of IoGT / number of ground-truth boxes",
    ),
    "acc_iou": Term(
        f"acc_iou@t: share of the ground-truth boxes whose predicted box has IoU > t. "
        f"{DEEP_MEDIA_NOTE}.",
        "IoU t + .001 and IoU 1 count alike, t - .001 and no box at all count alike.",
        "boxes with IoU > t / number of ground-truth boxes",
        f"{_WANG} (T(IoU))",
        ("T(IoU)",),
    ),
    "acc_iobb": Term(
        "acc_iobb@t: share of the ground-truth boxes whose predicted box has IoBB > t.",
        "Small boxes pass easily: read it with the mean IoGT in parentheses.",
        "boxes with IoBB > t / number of ground-truth boxes",
        f"{_WANG} (T(IoBB))",
    ),
    "acc_iogt": Term(
        "acc_iogt@t: share of the ground-truth boxes of which more than t is covered.",
        "Large boxes pass easily.",
        "boxes with IoGT > t / number of ground-truth boxes",
    ),
    "AFP": Term(
        "AFP@t: boxes that fail the test, over 984. Kept with the published figures, not computed "
        "here: see false boxes per image.",
        "Not a rate per image: the denominator is the number of ground-truth boxes, and only 984 "
        "makes the published figures integers.",
        "failing boxes / 984",
        _WANG,
        ("afp",),
    ),
    "miss": Term(
        f"{MISS_RULE[0].upper()}{MISS_RULE[1:]}.",
        "Whether the localizer was silent or wrong: see the error taxonomy.",
    ),
    # --- which boxes count
    "rule": Term(
        f"Which of a localizer's boxes counts. {TOP_1_RULE[0].upper()}{TOP_1_RULE[1:]}. 'any': the "
        "best over all boxes of that image and disease (Wang's rule), always its own column; its "
        "IoGT is that of the box with the best IoBB.",
        "'any' rewards localizers that give many boxes: it looks at the ground truth to choose.",
        "",
        _WANG,
        ("top-1", "any"),
    ),
    "setting": Term(
        "'disease given': the localizer was told which disease is there and asked where. 'gated': "
        "a box counts only where the gate says that the disease is present; elsewhere the "
        "ground-truth box is a miss. 'control': a box that never looks at the image. 'published': "
        "figures of others, scored on THEIR images.",
        "'disease given' says nothing about images on which the disease is absent: see false boxes "
        "per image.",
        also=("disease given", "gated", "published"),
    ),
    "control": Term(
        "A localizer that never looks at the image, for the others to beat: prior_box, "
        "constant_box, center_box, random_map. Its boxes come from the ground truth of OTHER "
        "patients.",
        "It is told the disease, so a gated localizer has to beat it in spite of what the gate "
        "misses.",
    ),
    "oracle": Term(
        "A figure whose threshold, region or box was chosen with the ground-truth box that it is "
        "scored on. Always labelled so; an upper bound, never a result.",
        "Nothing that sees a new image can reach it.",
    ),
    # --- averages and intervals
    "macro mean": Term(
        "Mean over the diseases, each with equal weight.",
        "A disease of 63 boxes weighs as much as one of 144, with its noise.",
    ),
    "disease": Term(
        "A column of a disease: the figure over the ground-truth boxes of that disease.",
        "The number of boxes differs from disease to disease and so does the interval.",
    ),
    "interval": Term(
        "[low, high], the 95 % interval over resamples of patients (all boxes of a patient "
        "together), the same resamples for every localizer; percentiles, expanded for few patients "
        "as Student's t is. A disease that has no box in a "
        "resample is left out of that resample's macro mean; how often that happened is printed.",
        "It holds the draw of patients alone: not the training seed, nor another hospital.",
        "percentiles Phi(-+ sqrt(n / (n - 1)) t) of the resamples, t of n - 1 degrees of freedom; "
        "n = the patients of the disease (macro mean: their harmonic mean)",
        "Hesterberg, The American Statistician 69, 2015; Field and Welsh 2007 (clusters)",
        ("low", "high"),
    ),
    # --- columns that say what a row is
    "localizer": Term("Name of the localizer, as given with --predictions, or of the control.", ""),
    "measure": Term("Name of the figure in the row.", ""),
    "threshold": Term("t of the test; strict.", ""),
    "boxes": Term("Number of ground-truth boxes behind the figure.", ""),
    "hits": Term(
        "Number of ground-truth boxes with IoU over the threshold that heads the block.",
        "IoU t + .001 and IoU 1 count alike.",
    ),
    "note": Term("What the file is for, or where a published figure comes from.", ""),
    # --- average precision
    "AP": Term(
        "COCO's average precision: the mean precision over 101 recalls of a disease's boxes, "
        "ranked by score over all images, averaged over IoU thresholds; box AP and mask AP apart.",
        "Good boxes with badly ranked scores and badly placed boxes look alike; it falls when "
        "images without the disease are added.",
        "mean over t and recalls of max precision at that recall or higher",
        "Lin et al., Microsoft COCO, ECCV 2014; computed by pycocotools",
        ("box AP", "mask AP", "ap_10_70", "ap_50", "ap_50_95"),
    ),
    "IoU thresholds": Term(
        "The thresholds that AP is averaged over: .1:.1:.7 of radiology, .5 alone, .5:.05:.95 of "
        "COCO.",
        "The upper thresholds of COCO ask for an exactness that roughly drawn boxes may not have.",
    ),
    "unboxed positives": Term(
        "What becomes of predictions on images that are labelled with the disease but have no box "
        "of it: 'ignored', neither right nor wrong, or 'counted' as false. Both are printed.",
        "NIH boxed a part of the positive images: the truth lies between the bounds.",
        source="Gupta et al., LVIS, CVPR 2019 (not exhaustively annotated categories)",
        also=("ignored", "counted"),
    ),
    "images": Term("Number of images behind the figure.", "Images are not patients."),
    # --- error taxonomy, synonyms, strata
    "error taxonomy": Term(
        "Every ground-truth box in exactly one class, the first that fits: gate miss, hit, loose "
        "or tight, other disease's name, wrong place, no box.",
        "It sorts ground-truth boxes, not predictions: a false box on an image without the disease "
        "is in no class. See false boxes per image.",
        "boxes of the class / number of ground-truth boxes, in %",
        "after Hoiem et al., Diagnosing error in object detectors, ECCV 2012, and TIDE, Bolya et "
        "al., ECCV 2020, which sort the predictions",
    ),
    "hit": Term(
        "Error taxonomy: the top-1 box has IoU > t.",
        "It is acc_iou@t in %; over 'all boxes' it pools them and is not the macro mean.",
        "IoU > t",
    ),
    "loose": Term(
        "Error taxonomy: right place, but the outline is too large.",
        "A shifted box of slightly larger size is here too: the size alone decides the word.",
        ".1 < IoU <= t and |P| > |G|",
    ),
    "tight": Term(
        "Error taxonomy: right place, but the outline is too small, or of equal size and shifted.",
        "A box on one of two lungs looks like a tight one.",
        ".1 < IoU <= t and |P| <= |G|",
    ),
    "other disease's name": Term(
        "Error taxonomy: the own top-1 box is absent or elsewhere, and the top-1 box that the "
        "localizer gives for ANOTHER disease on that image fits.",
        "A localizer that boxes every disease on every image gets here by chance, and the other "
        "box may be right under its own name.",
        "own IoU <= .1, other IoU > t",
    ),
    "wrong place": Term(
        "Error taxonomy: there is a top-1 box, elsewhere or hardly touching.",
        "A box that covers the whole image around a nodule is here: its IoU is below .1.",
        "IoU <= .1",
    ),
    "gate miss": Term(
        "Error taxonomy, gated: the gate says that the disease is absent, so no box counts, "
        "however good it is.",
        "What the localizer would have lost on these images anyway: see its row 'disease given'.",
    ),
    "no box": Term(
        "Error taxonomy: the localizer gives no box for the disease on that image.",
        "Whether it found nothing or was cut off by a threshold of its own.",
    ),
    "names": Term(
        "'strict': a box counts under its own disease alone. 'merged': Infiltration, Pneumonia and "
        "Consolidation count as one name, Nodule and Mass as another; of all boxes of the group on "
        "the image the one with the highest score counts. 'merged - strict': paired difference.",
        "Scores of different diseases are compared, for which they were not made; more boxes to "
        "choose from can also be right by chance.",
        also=("strict", "merged", "merged - strict", "synonyms"),
    ),
    "stratum": Term(
        "A part of the ground-truth boxes: by view, sex and age of the image's patient, quarter of "
        "the box area within its disease, one or several diseases on the image.",
        "Strata overlap and differ in difficulty; no test is done, and of many intervals some "
        "differ by chance.",
        also=("strata",),
    ),
    "minus reference": Term(
        "The figure minus that of the control constant_box (prior_box where there is none) on the "
        "same boxes, with a paired interval.",
        "A stratum in which the disease always sits in the same spot leaves little to win.",
        "figure - figure of the control",
        also=("mean_iou minus reference", "acc_iou minus reference"),
    ),
    "diseases": Term(
        "Number of diseases that have a ground-truth box there: the macro mean is over these.",
        "Which ones: two strata can average over different diseases.",
    ),
    "patients": Term(
        "Number of patients behind the figure: the unit that is resampled.",
        "Few patients with many boxes weigh more than their number says.",
    ),
    # --- gate accounting, false boxes, FROC
    "charge": Term(
        "Where a ground-truth box went, each to exactly one place: 'hit' (the gate passes and IoU "
        "> t); 'lost at the gate, localizer would have hit'; 'lost at the gate, localizer would "
        "have missed too'; 'lost by the localizer: wrong place' (the gate passes, IoU <= t); 'lost "
        "by the localizer: no box'.",
        "A box that both would lose is charged to the gate, which comes first. At a low t wrong "
        "places become hits: read it at several t.",
        also=("gate ledger",),
    ),
    "share": Term(
        "Share of all ground-truth boxes that a charge takes; the shares of a localizer sum to 1.",
        "Common diseases weigh more than rare ones: the macro mean beside it weighs them alike.",
        "boxes of the charge / number of ground-truth boxes",
    ),
    "all diseases": Term(
        "The figure of all diseases together: each box counts once, whatever its disease.",
        "Common diseases weigh more than rare ones.",
    ),
    "end to end": Term(
        "Setting: on every image that the localizer looked at, also those without findings, it is "
        "asked for the diseases that the gate says are present. 'every disease asked': the same "
        "without a gate. In the tables of false boxes 'disease given' and 'gated' are on the boxed "
        "images alone.",
        "The share of images without findings is the data set's, not that of a clinic.",
        also=("every disease asked",),
    ),
    "localized sensitivity": Term(
        "Share of the ground-truth boxes that are found: on the images of the row, by the boxes "
        "that the setting asks for. 'sensitivity@x': the best that is reached with at most x false "
        "boxes per image as the localizer's score is swept over all its boxes (FROC); 'mean "
        "sensitivity': the mean of these columns, which weighs sparing readings as much as "
        "generous ones.",
        "A sweep over all diseases together compares scores of different diseases, which no "
        "localizer promises to be comparable: the figure shows each disease apart. What a gate "
        "decides is not swept.",
        "ground-truth boxes with a box of IoU > t / ground-truth boxes on the images",
        "Bunch et al. 1978; Chakraborty 1989; points after LUNA16, Setio et al. 2017",
        ("sensitivity", "mean sensitivity"),
    ),
    "false boxes per image": Term(
        "Predicted boxes that are wrong, over images: on a disease that the image does not have, "
        "or on a boxed disease with IoU <= t. A box on a disease that is labelled without a box is "
        "ignored, or counted as false where the column says '(unboxed positives counted)': the "
        "truth lies between. '... without finding': over images that are labelled with nothing. "
        "'... per boxed image': over images with a ground-truth box.",
        "A label that is missing makes a right box false. With 'disease given' there is no absent "
        "disease to fall on: the figure is then of wrong places alone.",
        "false boxes / images",
        "ignored positives: LVIS, Gupta et al. 2019",
        (
            "false boxes",
            "false boxes per image (unboxed positives counted)",
            "false boxes per image without finding",
            "false boxes per boxed image",
        ),
    ),
    "image set": Term(
        "Over which images false boxes are averaged: all that the localizer looked at in that "
        "setting, the boxed ones, or those that are labelled with nothing at all.",
        "An image without a label is not a healthy image: labels are mined from reports.",
    ),
    # --- one localizer against another
    "skill": Term(
        "How much of what a control leaves to be gained a localizer gains: 1 is perfect, 0 as good "
        "as the control, below 0 worse. Behind a mean: over constant_box, in the same measure. "
        "Macro: of the two macro means. Undefined where the control is perfect.",
        "Where the control is near 1 the skill of a small difference is large and its interval "
        "wide: read it with the means.",
        "(m - c) / (1 - c), m and c the means of localizer and control",
        "skill scores of forecasting (Murphy, Monthly Weather Review 1988)",
    ),
    "minus": Term("The second localizer of a pair: the row is the first minus the second.", ""),
    "difference": Term(
        "Figure of the first localizer minus that of the second on the same boxes; its interval is "
        "that of the difference in the same resamples of patients.",
        "Two intervals of their own that overlap say nothing about the difference. One interval in "
        "twenty excludes zero by chance; those of the diseases are not corrected for their number.",
        "mean over the boxes of (first - second)",
        also=("mean IoU difference",),
    ),
    "macro mean excludes zero": Term(
        "Whether the interval of the macro mean's difference lies on one side of zero.",
        "Not how large the difference is, nor whether it holds in each disease.",
    ),
    "noninferior": Term(
        "Whether the whole interval of the macro mean's difference lies above minus the margin "
        "that was given: the first localizer is worse by less than that.",
        "It depends on the margin, which must be chosen before the figures are seen; one-sided at "
        "half of what the interval leaves out, not corrected for the number of comparisons.",
        "low > -margin",
        also=("noninferior in",),
    ),
    "ties": Term(
        "Patients in whom the two localizers do equally well, mostly because both miss.",
        "Ties count as no evidence; many of them leave few patients to decide.",
    ),
    "patients' mean difference": Term(
        "Mean over the patients of each one's mean difference in IoU: what Wilcoxon's test is on.",
        "A patient with five boxes weighs as much as one with one, unlike in the difference of "
        "mean IoU.",
    ),
    "Wilcoxon p": Term(
        "Two-sided p of the signed-rank test on the patients' mean differences in IoU; zeros are "
        "ranked, then dropped (Pratt). None under 10 patients.",
        "Nothing about the size of the difference: see the rank-biserial effect.",
        source="Wilcoxon 1945; Pratt 1959",
    ),
    "McNemar p": Term(
        "Two-sided p of the exact test of the patients in whom one localizer alone, or more "
        "often, hits a box. None under 10 patients.",
        "Conservative when few patients differ; a hit is IoU over one threshold.",
        "binomial test of `hits first only` of all that differ, at 1/2",
        "McNemar 1947",
    ),
    "Holm p": Term(
        "p corrected over the diseases that were tested, within one pair and one test. The macro "
        "mean is not one of them: its Holm p is the plain p.",
        "Not corrected over the pairs of localizers.",
        "p times the number of tests not yet passed, in ascending order, never falling",
        "Holm 1979",
        ("Wilcoxon Holm p", "McNemar Holm p"),
    ),
    "rank-biserial": Term(
        "Effect size of Wilcoxon's test, -1 (second better in every patient) to 1 (first).",
        "It counts how often and in which order, not by how much IoU.",
        "(W+ - W-) / (W+ + W-), W the sums of ranks",
        "Kerby 2014",
    ),
    "hits first only": Term(
        "Patients of whom the first localizer hits more boxes than the second.",
        "Patients whose boxes both hit, or both miss, are not in it.",
        also=("hits second only",),
    ),
    "tested": Term("Whether there were the 10 patients that a test needs.", ""),
    # --- leakage: images that a model has seen
    "status": Term(
        "Of the leakage audit. 'clean': each scored image was predicted by a model in whose "
        "training there was no image of its patient. 'leaked': at least one was. 'unknown': "
        "nothing was found, but something could not be compared; 'reason' says what.",
        "Images are known by their names and patients by their numbers alone: the same image under "
        "another name is not found, nor what foreign first weights were trained on.",
        also=("reason",),
    ),
    "shared images": Term(
        "Scored images that the very model which predicted them was trained on. Images that chose "
        "its weights or thresholds (validation) count as trained on.",
        "One such image in a thousand is a leak too: look at the number.",
    ),
    "shared patients": Term(
        "Patients of scored images of whom the model that predicted them saw any image in training."
        "",
        "Patients whose number nobody recorded cannot be found: the status is then unknown.",
    ),
    "boxed images in training": Term(
        "Scored images with a ground-truth box that the model which predicted them was trained on.",
        "Whether it saw the box or only the image's labels: both are a leak.",
    ),
    # --- oracle ladder
    "rung": Term(
        "Step of the oracle ladder: what the localizer's boxes were chosen with. 'fixed threshold' "
        "is its file of predictions; 'tuned threshold' a rule tuned on other patients; 'oracle "
        "threshold', 'oracle region' and 'best cell-aligned box' look at the scored box.",
        "The last three are oracles: limits, never results. The figures of a rung without maps for "
        "all boxes count these as 0.",
    ),
    "saw": Term(
        "What the figure's choices were allowed to see of the ground truth.",
        "What the network itself saw in training: see the leakage audit.",
    ),
    "without map": Term(
        "Ground-truth boxes whose image and disease have no heat map.",
        "They have IoU 0 on every rung but the last, so a file of few maps makes a low ladder.",
    ),
    "lost to": Term(
        "Mean IoU lost to the choice of threshold, to the choice of region, to the map, to its "
        "resolution: differences of neighbouring rungs, which with the tuned rung sum to 1.",
        "The order of the rungs: a better map would also make the threshold easier. A loss to the "
        "map is below 0 where regions, whose borders run between cells, beat boxes of whole cells.",
        "mean IoU of the upper rung - mean IoU of the lower rung",
    ),
    "from rung to rung": Term("The two rungs whose difference is the loss.", ""),
    # --- cheXlocalize
    "mIoU": Term(
        "Mean IoU of masks, by cheXlocalize's rule: over the images where the ground truth or the "
        "localizer has a mask of the disease. 'mIoU, true positives only': where both have one.",
        "The second form does not see what was missed or marked for nothing. A filled box scores "
        "as a mask.",
        "",
        "Saporta et al. 2022",
        ("mIoU, true positives only",),
    ),
    "hit rate": Term(
        "Share of ground-truth masks that hold the localizer's most representative point: the peak "
        "of its heat map or, without one, the middle of its box.",
        "A large mask is easily hit; the point says nothing of extent.",
        "hits / ground-truth masks",
        "Saporta et al. 2022",
    ),
    "masks": Term("Images and diseases that count in the figure of cheXlocalize's masks.", ""),
    # --- shortcut check
    "CAM mass": Term(
        "Share of a heat map's mass that lies in a region: the sum of the map there over "
        "its sum everywhere, the map's least value set to 0. 'CAM mass minus area' is what it has "
        "over the control.",
        "A map of 10 x 10 cells smears heat over the letters beside it. The map shows where the "
        "network looks for this disease, not what it would do without the letter.",
        "sum of map within the region / sum of map",
        "",
        ("share of",),
    ),
    "area (control)": Term(
        "Share of the image's area that the region takes: the CAM mass that a map which is the "
        "same everywhere has there.",
        "Disease lies in the middle of images: a map that looks at the patient is under it.",
        "pixels of the region / pixels of the image",
    ),
    "region": Term(
        "markers: burnt-in text and side letters, found by image processing. outside the body: air "
        "and collimated border, the dark parts that touch the image's edge, without markers.",
        "The finder misses faint letters and takes some wires and clips for letters.",
    ),
    "maps": Term("Heat maps of an image and disease that were measured.", ""),
    "maps of marked images": Term(
        "Those of images on which a marker was found.",
        "The others count in the means too, with a share of 0 on markers.",
    ),
}

_NUMBER = re.compile(r"@[\d.]+")
_BESIDE = re.compile(r".* (IoGT|skill)$")  # columns of their own in the CSV


def lookup(column: str) -> Term:
    """Entry of a column or measure; thresholds (`@0.5`), ` low`, ` high` and ` any` are ignored.

    `X IoGT` and `X skill` are explained as IoGT and skill.

    Raises:
        ValueError: for a name that has no entry; the known ones are listed.
    """
    plain = re.sub(r"( low| high|,? any)+$", "", _NUMBER.sub("", column)).strip()
    wanted = _BESIDE.sub(r"\1", plain)
    for name, word in TERMS.items():
        if wanted in (name, *word.also) or column in (name, *word.also):
            return word
    raise ValueError(f"no explanation of {column!r}; known are {', '.join(TERMS)}")


def explain(column: str | None = None) -> str:
    """The entry of one column as text, or all of them."""
    if column is not None:
        return f"{SYMBOLS}\n\n{_entry(column, lookup(column))}\n{RESEARCH_USE}.\n"
    entries = "\n".join(_entry(name, word) for name, word in TERMS.items())
    return f"The words of the comparison\n{SYMBOLS}\n\n{entries}\n{RESEARCH_USE}.\n"


def _entry(name: str, word: Term) -> str:
    parts = [("", word.definition), ("formula: ", word.formula), ("source: ", word.source)]
    parts.append(("hides: ", word.hides))
    title = ", ".join((name, *word.also))
    lines = [f"{label}{text}" for label, text in parts if text]
    body = "\n".join(
        textwrap.fill(line, 96, initial_indent="    ", subsequent_indent="      ") for line in lines
    )
    return f"{title}\n{body}\n"
