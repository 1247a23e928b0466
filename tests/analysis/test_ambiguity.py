from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from otadet.analysis.ambiguity import EvenlySpaced, SizedRule, at_each_r, count_ambiguous
from otadet.assigners import ATSSAssigner, OTAAssigner, PAAAssigner, TaskAlignedAssigner
from otadet.assigners.base import Assigner
from otadet.data.batch import Batch
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions


class TwoPoints(nn.Module):
    strides, size_divisor = (8,), 8

    def forward(self, images):
        points = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
        anchors = Anchors(points, torch.cat((points - 4, points + 4), 1), torch.full((2,), 8.0), ((1, 2),))
        boxes = anchors.boxes.expand(len(images), -1, -1)
        return Predictions(torch.zeros(len(images), 2, 1), boxes), anchors


PIPELINE = Pipeline(TwoPoints(), InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), Postprocess(), ("one",))


class FirstOfEach(Assigner):
    """The first anchor of every image is positive, and ambiguous where there are two boxes."""

    def assign(self, predictions, anchors, truth):
        positive = torch.tensor([[True, False]]).expand(len(predictions.boxes), -1)
        return Assignment(torch.where(positive, 0, -1), positive & (truth.valid.sum(1) > 1)[:, None])


def batch(*box_counts: int) -> Batch:
    truths = [
        GroundTruth(torch.tensor([[0.0, 0, 8, 8]] * count).view(-1, 4), torch.zeros(count).long())
        for count in box_counts
    ]
    number = len(box_counts)
    images = torch.zeros(number, 3, 32, 32, dtype=torch.uint8)
    return Batch(images, truths, list(range(number)), [""] * number, [(32, 32)] * number, [(1.0, 1.0)] * number)


def test_counts_add_up_over_batches():
    loader = [batch(1, 2), batch(2)]
    rules = [SizedRule("first", None, FirstOfEach())]
    (count,) = count_ambiguous(PIPELINE, loader, rules)
    assert (count.images, count.boxes, count.positives) == (3, 5, 3)
    assert (count.ambiguous, count.contested) == (2, 2)
    assert count.per_image(count.ambiguous) == pytest.approx(2 / 3)


def test_only_boxes_that_share_an_anchor_contest_it():
    def count(*boxes):
        one = replace(batch(0), truths=[GroundTruth(torch.tensor(boxes), torch.zeros(len(boxes)).long())])
        return count_ambiguous(PIPELINE, [one], at_each_r("ota", OTAAssigner(), ()))[0]

    same, apart = [[0.0, 0.0, 8.0, 8.0]] * 2, [[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]
    assert count(*same).contested == 1
    assert count(*apart).contested == 0


def test_the_papers_r_is_two_radii():
    expected = [SizedRule("ota", r, OTAAssigner(radius=radius)) for r, radius in ((3, 1.5), (5, 2.5), (7, 3.5))]
    assert at_each_r("ota", OTAAssigner(), (3, 5, 7)) == expected
    assert at_each_r("ota", OTAAssigner(), ()) == [SizedRule("ota", None, OTAAssigner())]


def test_rules_that_take_the_best_of_each_level_take_r_times_r():
    assert at_each_r("atss", ATSSAssigner(), (3, 7)) == [SizedRule("atss", r, ATSSAssigner(topk=r * r)) for r in (3, 7)]
    assert at_each_r("paa", PAAAssigner(), (5,)) == [SizedRule("paa", 5, PAAAssigner(topk=25))]


def test_other_rules_are_counted_once():
    assert at_each_r("tal", TaskAlignedAssigner(), (3, 5, 7)) == [SizedRule("tal", None, TaskAlignedAssigner())]


def test_a_limit_takes_images_from_all_over():
    class Numbers:
        def __len__(self):
            return 10

        def sample(self, index):
            return index

    some = EvenlySpaced(Numbers(), 4)
    assert [some.sample(index) for index in range(len(some))] == [0, 3, 6, 9]
    assert len(EvenlySpaced(Numbers(), 40)) == 10
    assert np.array_equal([EvenlySpaced(Numbers(), 40).sample(index) for index in range(10)], np.arange(10))
