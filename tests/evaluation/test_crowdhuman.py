import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from otadet.errors import UserError
from otadet.evaluation.coco import evaluate_coco
from otadet.evaluation.crowdhuman import SCORES, evaluate_crowdhuman
from otadet.evaluation.protocols import PROTOCOLS
from otadet.structures import Detections
from tests.helpers.crowds import as_dataset, random_crowd
from tests.helpers.slow_crowdhuman import Picture, slow_scores


def scores_of(pictures: list[Picture]) -> dict[str, float]:
    return evaluate_crowdhuman(*as_dataset(pictures)).stats


def test_a_false_positive_between_two_people():
    """By hand. In the order of the scores: right, wrong, right.

    recall 1/2, 1/2, 1 and precision 1, 1/2, 2/3, so AP is 1/2 x (1/2 + 2/3) / 2. FPPI is 0, 1, 1: all nine points are
    at the second detection, with half of the people missed. Above any score up to 0.6 there are 3 detections and 2
    people in 2 matches: 2 / (3 + 2 - 2).
    """
    a, b, nobody = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60)
    found = scores_of([Picture(100, 100, [a, b], [], [(a, 0.9), (nobody, 0.8), (b, 0.7)])])
    assert found == pytest.approx({"MR": 0.5, "AP": 7 / 24, "recall": 1.0, "JI": 2 / 3})


def test_ignored_regions_excuse_what_lies_in_them_by_more_than_half():
    """By hand. The boxes at 0.95 and 0.9 lie in the region with 60 % and all of their area, and do not count; that at
    0.75 with exactly 50 %, and is wrong, as is the second one of the same person at 0.8.

    What counts: right 0.85, wrong 0.8, wrong 0.75, right 0.7, wrong 0.6. AP is 1/2 x (1/3 + 2/4) / 2. In two images
    FPPI is 0, 0.5, 1, 1, 1.5: of the nine points those up to 0.3162 are at the second detection, the others at the
    third; one of two people is missed at both. Above 0.6 the first image has 1 match of 1 person and 3 detections, the
    second is perfect: (1/3 + 1) / 2; above 0.8 the first is, and the second has none.
    """
    person, other = (0, 0, 10, 20), (5, 5, 30, 60)
    first = [((30, 0, 55, 10), 0.95), ((50, 10, 90, 40), 0.9), (person, 0.85), (person, 0.8), ((30, 0, 50, 10), 0.75)]
    pictures = [
        Picture(100, 80, [person], [(40, 0, 100, 50)], first),
        Picture(100, 80, [other], [], [(other, 0.7), ((60, 10, 90, 40), 0.6)]),
    ]
    assert scores_of(pictures) == pytest.approx({"MR": 0.5, "AP": 5 / 24, "recall": 1.0, "JI": 2 / 3})


def test_the_nine_points_of_the_miss_rate():
    """By hand. One person in each of 20 images: 10 found at 0.9, a false positive (FPPI 0.05), 5 more found, two false
    ones (0.1, 0.15), 3 more, and 17 false ones (0.2 to 1).

    Missed are 1/2 at 0.01, 0.0178 and 0.0316, where FPPI first is 0.05; 1/4 at 0.0562 and 0.1, where it is 0.1; 1/10
    from 0.1778 on, where it is 0.2 and more.
    """
    person = (10, 10, 40, 70)
    found_at = [0.9] * 10 + [0.7] * 5 + [0.5] * 3
    pictures = [Picture(100, 80, [person], [], [(person, score)]) for score in found_at]
    pictures += [Picture(100, 80, [person], [], [])] * 2
    wrong = [((60, 10, 90, 70), score) for score in [0.8] + [0.6] * 2 + [0.4] * 17]
    pictures[0] = pictures[0]._replace(found=pictures[0].found + wrong)

    right_and_all = [(n, n) for n in range(1, 11)] + [(10, 11)] + [(n, n + 1) for n in range(11, 16)]
    right_and_all += [(15, 17), (15, 18)] + [(n, n + 3) for n in range(16, 19)]
    points = [(right / 20, right / everything) for right, everything in right_and_all]
    area = sum((r - q) * (p + o) / 2 for (q, o), (r, p) in pairwise(points))
    expected = {
        "MR": math.exp((3 * math.log(1 / 2) + 2 * math.log(1 / 4) + 4 * math.log(1 / 10)) / 9),
        "AP": area,
        "recall": 18 / 20,
        # Above 0.4: 17 perfect images, one with 1 match of 4 detections, two without.
        "JI": (17 + 1 / 4) / 20,
    }
    assert scores_of(pictures) == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [range(start, start + 30) for start in (0, 30, 60)], ids=lambda seeds: seeds.start)
def test_random_crowds_have_the_scores_of_a_slow_program(seeds):
    for seed in seeds:
        pictures = random_crowd(seed)
        assert scores_of(pictures) == pytest.approx(slow_scores(pictures), abs=1e-9), seed


def test_the_random_crowds_have_what_is_to_be_tested():
    crowds = [random_crowd(seed) for seed in range(90)]
    pictures = [picture for crowd in crowds for picture in crowd]
    assert sum(not one.people for one in pictures) > 20
    assert sum(not one.found for one in pictures) > 20
    assert sum(not one.people and bool(one.regions and one.found) for one in pictures) > 5
    assert sum(len({score for _, score in one.found}) < len(one.found) for one in pictures) > 50
    found = [slow_scores(crowd) for crowd in crowds]
    assert min(sum(0.1 < one[name] < 0.9 for one in found) for name in SCORES) > 30


def test_nothing_found_and_nobody_there():
    person = (10, 10, 40, 70)
    assert scores_of([Picture(100, 80, [person], [], [])]) == {"MR": 1, "AP": 0, "recall": 0, "JI": 0}
    nobody = evaluate_crowdhuman(*as_dataset([Picture(100, 80, [], [person], [(person, 0.5)])]))
    assert set(nobody.stats.values()) == {-1}
    assert "no ground truth to compare with" in nobody.diagnosis.cause


def test_perfect_detections():
    people = [(10, 10, 40, 70), (15, 10, 45, 70), (60, 0, 90, 50), (-20, 5, 8, 60)]
    found = scores_of([Picture(100, 80, people, [], [(box, 0.9) for box in people])] * 25)
    assert found == pytest.approx({"MR": 0, "AP": 0.99, "recall": 1, "JI": 1})


def test_only_the_images_that_count_are_counted_and_unknown_ones_are_not():
    pictures = random_crowd(4) + random_crowd(5)
    dataset, detections = as_dataset(pictures)
    kept = [0, 2, 3, 5]
    ids = dataset.image_ids[kept].tolist()
    expected = slow_scores([pictures[row] for row in kept])
    assert evaluate_crowdhuman(dataset, detections, ids).stats == pytest.approx(expected)
    alien = Detections(torch.tensor([[0.0, 0, 50, 50]]), torch.tensor([0.99]), torch.tensor([0]))
    result = evaluate_crowdhuman(dataset, {**detections, 10**6: alien}, ids)
    assert result.stats == pytest.approx(expected)
    assert result.diagnosis.matching_images == result.diagnosis.predicted_images - 1 - sum(
        image_id not in ids for image_id in detections
    )


def test_the_order_in_which_images_are_predicted_has_no_say():
    dataset, detections = as_dataset(random_crowd(9))
    turned = dict(reversed(detections.items()))
    assert evaluate_crowdhuman(dataset, turned).stats == evaluate_crowdhuman(dataset, detections).stats


def test_saved_predictions_have_these_numbers():
    """What is evaluated is rounded as in the file of predictions."""
    dataset, detections = as_dataset(random_crowd(8))
    blurred = {
        image_id: Detections(found.boxes + 1e-5, found.scores + 1e-8, found.labels)
        for image_id, found in detections.items()
    }
    assert evaluate_crowdhuman(dataset, blurred).stats == evaluate_crowdhuman(dataset, detections).stats


def test_every_class_is_measured_alone():
    """Two crowds in the same images as two classes: the numbers are the means."""
    one, other = ([p for p in random_crowd(seed) if p.people][:2] for seed in (10, 13))
    datasets = [as_dataset(crowd) for crowd in (one, other)]
    together = list(zip(one, other, strict=True))
    both = [Picture(100, 80, *(left + right for left, right in zip(a[2:], b[2:], strict=True))) for a, b in together]
    dataset, detections = as_dataset(both)
    dataset.class_names, dataset.source_ids = ("cat", "dog"), (0, 1)
    truths = [len(part) for a, b in together for part in (a.people, b.people, a.regions, b.regions)]
    dataset.labels = np.repeat([0, 1] * (len(truths) // 2), truths)
    for (a, b), (image_id, found) in zip(together, detections.items(), strict=True):
        labels = torch.tensor([0] * len(a.found) + [1] * len(b.found))
        detections[image_id] = Detections(found.boxes, found.scores, labels)
    result = evaluate_crowdhuman(dataset, detections)
    alone = [evaluate_crowdhuman(*each).stats for each in datasets]
    assert [entry.scores for entry in result.per_class] == [pytest.approx(stats) for stats in alone]
    assert result.stats == pytest.approx({name: (alone[0][name] + alone[1][name]) / 2 for name in SCORES})
    assert [entry.truths for entry in result.per_class] == [sum(len(p.people) for p in each) for each in (one, other)]


def test_either_protocol_can_measure_the_same_data():
    dataset, detections = as_dataset(random_crowd(11))
    coco, crowdhuman = (
        PROTOCOLS[name].evaluate(dataset, detections, None, judge="auto") for name in ("coco", "crowdhuman")
    )
    assert coco.stats == evaluate_coco(dataset, detections).stats
    assert set(crowdhuman.stats) == set(SCORES)
    assert crowdhuman.diagnosis == coco.diagnosis


def test_there_is_no_other_judge():
    with pytest.raises(UserError, match="judge pycocotools: computes COCO's numbers alone"):
        evaluate_crowdhuman(*as_dataset(random_crowd(1)), judge="pycocotools")


def test_a_label_that_the_data_do_not_have_is_an_error():
    dataset, _ = as_dataset(random_crowd(1))
    found = Detections(torch.zeros(1, 4), torch.ones(1), torch.tensor([1]))
    with pytest.raises(UserError, match=r"image 3: a prediction has class number 1, .* only 1 classes"):
        evaluate_crowdhuman(dataset, {3: found})
