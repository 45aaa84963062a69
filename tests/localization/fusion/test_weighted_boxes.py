import numpy as np
import pytest

from cxrloc.localization.fusion.weighted_boxes import SCORE_RULES, fuse_boxes

LEFT, SHIFTED, AWAY = (0.0, 0.0, 10.0, 10.0), (2.0, 0.0, 12.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def test_a_fused_box_is_the_mean_weighted_by_the_scores() -> None:
    # IoU 8 / 12; the left side is (.6 x 0 + .2 x 2) / .8 = .5
    fused = fuse_boxes([[LEFT], [SHIFTED]], [[0.6], [0.2]])
    assert fused.boxes_xyxy == pytest.approx(np.array([[0.5, 0, 10.5, 10]]))
    assert fused.scores == pytest.approx([0.4])  # (.6 + .2) / 2


def test_a_box_that_one_of_two_models_lacks_keeps_half_of_its_score() -> None:
    fused = fuse_boxes([[LEFT, AWAY], [LEFT]], [[0.6, 0.5], [0.4]])
    assert fused.boxes_xyxy == pytest.approx(np.array([LEFT, AWAY]))
    assert fused.scores == pytest.approx([0.5, 0.25])


def test_a_model_without_any_box_takes_part() -> None:
    assert fuse_boxes([[LEFT], [], []], [[0.9], [], []]).scores == pytest.approx([0.3])


def test_a_box_joins_by_its_iou_with_the_fused_box_not_with_the_first() -> None:
    # IoU with LEFT is 6 / 14 = .43; with the mean of LEFT and SHIFTED, (1, 0, 11, 10), 7 / 13 = .54
    third = (4.0, 0.0, 14.0, 10.0)
    without = fuse_boxes([[LEFT], [], [third]], [[0.6], [], [0.3]], iou_threshold=0.5)
    joined = fuse_boxes([[LEFT], [SHIFTED], [third]], [[0.6], [0.6], [0.3]], iou_threshold=0.5)
    assert len(without.scores) == 2
    assert joined.boxes_xyxy == pytest.approx(np.array([[1.6, 0, 11.6, 10]]))
    assert joined.scores == pytest.approx([0.5])


def test_the_threshold_is_strict() -> None:
    third = 1 / 3  # IoU of a box with its shift by half of its width
    boxes = [[(0.0, 0.0, 2.0, 1.0)], [(1.0, 0.0, 3.0, 1.0)]]
    assert len(fuse_boxes(boxes, [[1.0], [1.0]], iou_threshold=third).scores) == 2
    assert len(fuse_boxes(boxes, [[1.0], [1.0]], iou_threshold=0.333).scores) == 1


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        # model 0, of weight 3, has the boxes of .8 and .4 here; model 1, of weight 1, none;
        # model 2, of weight 2, that of .6
        ("mean", (3 * 0.8 + 3 * 0.4 + 2 * 0.6) / 3 * 3 / 6),
        ("highest", 3 * 0.8 / 3),
    ],
)
def test_scores_by_each_rule(rule: str, score: float) -> None:
    boxes, scores = [[LEFT, LEFT], [], [LEFT]], [[0.8, 0.4], [], [0.6]]
    fused = fuse_boxes(boxes, scores, [3, 1, 2], score_rule=rule)
    assert fused.scores == pytest.approx([score])


def test_more_boxes_than_models_do_not_raise_the_mean() -> None:
    fused = fuse_boxes([[LEFT] * 5, [LEFT]], [[0.5] * 5, [0.5]])
    assert fused.scores == pytest.approx([0.5])


def test_figures_of_the_papers_own_code() -> None:
    # ensemble-boxes 1.0.9, weighted_boxes_fusion(..., weights=[2, 1], iou_thr=0.55), .6 of equal
    # weights too; its boxes are sorted by score as ours are
    first = [[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.12, 0.1, 0.52, 0.48]]
    second = [[0.1, 0.14, 0.5, 0.54], [0.3, 0.55, 0.62, 0.95]]
    scores = [[0.9, 0.4, 0.3], [0.6, 0.5]]
    fused = fuse_boxes([first, second], scores, [2, 1])
    theirs = [[0.104, 0.108, 0.504, 0.504], [0.6, 0.6, 0.9, 0.9], [0.3, 0.55, 0.62, 0.95]]
    assert fused.boxes_xyxy == pytest.approx(np.array(theirs), abs=1e-6)
    assert fused.scores == pytest.approx([0.666667, 0.266667, 0.166667], abs=1e-6)
    equal = fuse_boxes([first, second], scores)
    assert equal.boxes_xyxy[0] == pytest.approx([0.103333, 0.113333, 0.503333, 0.51], abs=1e-6)
    assert equal.scores == pytest.approx([0.6, 0.25, 0.2], abs=1e-6)


def test_one_model_of_distinct_boxes_comes_back_as_it_is() -> None:
    fused = fuse_boxes([[AWAY, LEFT]], [[0.2, 0.7]], [4])
    assert fused.boxes_xyxy == pytest.approx(np.array([LEFT, AWAY]))
    assert fused.scores == pytest.approx([0.7, 0.2])


def test_boxes_of_score_0_and_no_boxes() -> None:
    fused = fuse_boxes([[LEFT], [SHIFTED]], [[0.0], [0.0]])
    assert fused.boxes_xyxy == pytest.approx(np.array([[1, 0, 11, 10]]))
    assert fused.scores.tolist() == [0]
    assert fuse_boxes([[], []], [[], []]).boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1]}, r"weights: expected 2 numbers above 0, got \[1.0\]"),
        ({"weights": [1, 0]}, "weights: expected 2 numbers above 0"),
        ({"iou_threshold": 1.0}, "iou_threshold: expected 0 or more and below 1, got 1.0"),
        ({"score_rule": "avg"}, "'avg': expected one of mean, highest"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse_boxes([[LEFT], [LEFT]], [[0.5], [0.5]], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [[[0.5], [-0.1]], [[0.5], [float("nan")]], [[0.5], [0.5, 0.5]]])
def test_scores_must_fit_the_boxes(scores: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="scores of model 1: expected 1 finite numbers, 0 or more"):
        fuse_boxes([[LEFT], [LEFT]], scores)


@pytest.mark.parametrize("rule", SCORE_RULES)
def test_equal_models_agree_with_each_of_them(rule: str) -> None:
    fused = fuse_boxes([[LEFT, AWAY]] * 3, [[0.6, 0.3]] * 3, score_rule=rule)
    assert fused.scores == pytest.approx([0.6, 0.3])
