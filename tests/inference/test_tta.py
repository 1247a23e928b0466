import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.evaluation.evaluator import evaluate, pipeline_loader, predict_dataset
from otadet.exp import FCOS, YOLOX, BaseExp, InputSpec, Postprocess, ResNet, RetinaNet
from otadet.inference.pipeline import Pipeline
from otadet.inference.predictor import Predictor
from otadet.inference.tta import MultiScalePipeline
from otadet.inference.views import MultiScaleTest
from otadet.structures import Anchors, Predictions
from tests.helpers.coco import coco_dataset
from tests.helpers.evaluating import SumOfTheRest, write_portraits_and_landscapes

GREY = InputSpec(ResizeShortestEdge((64,), 90), (110.0, 110.0, 110.0), (60.0, 60.0, 60.0))
BOXED = replace(GREY, resize=Letterbox((64, 96), shrink="linear", rounding="down"))
PLAIN = InputSpec(ResizeShortestEdge((80,), 400), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
BACKBONE = ResNet(10, weights=None, width=8)


class Finder(nn.Module):
    """Finds the bright rectangle, with its share of the input for a score, and remembers what it was called with."""

    strides, size_divisor = (8,), 32

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.inputs: list[weakref.ref] = []

    def forward(self, images):
        assert [ref for ref in self.inputs if ref() is not None] == []
        self.seen.append(tuple(images.shape))
        self.inputs.append(weakref.ref(images))
        bright = images.amax(1)[0] > 128
        rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
        box = torch.cat((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
        anchors = Anchors(torch.zeros(1, 2), torch.zeros(1, 4), torch.ones(1), ((1, 1),))
        return Predictions(torch.tensor([[[2.0, -9.0]]]), box[None, None]), anchors


def multi_scale(model=None, spec=PLAIN, postprocess=None, **fields):
    """A pipeline that looks at several views, `MultiScaleTest(**fields)`."""
    plain = Pipeline(model or Finder(), spec, postprocess or Postprocess(0.3), ("a", "b"))
    return MultiScalePipeline.of(plain, MultiScaleTest(**fields))


def picture(box, height=80, width=100):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return pixels


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "labels"))


def random_network(part):
    torch.manual_seed(0)
    return part.build(2)


@pytest.mark.parametrize(
    ("model", "spec", "clip"),
    [
        (SumOfTheRest(), GREY, False),
        (SumOfTheRest(), BOXED, True),
        (random_network(FCOS(BACKBONE, channels=16, tower_depth=1)), GREY, False),
        (random_network(RetinaNet(BACKBONE, channels=16, tower_depth=1, aspect_ratios=(0.5, 2.0))), GREY, True),
        (random_network(YOLOX(0.33, 0.125)), BOXED, False),
    ],
    ids=("sum-shortest-edge", "sum-letterbox", "fcos", "retinanet", "yolox"),
)
def test_the_experiments_own_view_alone_is_the_plain_evaluation_to_the_last_bit(model, spec, clip, tmp_path):
    write_portraits_and_landscapes(tmp_path)
    dataset = coco_dataset(tmp_path / "truth.json", tmp_path)
    plain = Pipeline(model, spec, Postprocess(0.001, max_detections=40, clip=clip), ("a", "b"))
    test = MultiScaleTest(scales=(64,), flip=False)
    expected = evaluate(plain, dataset, batch_size=4)
    found = evaluate(MultiScalePipeline.of(plain, test), dataset, batch_size=4)
    assert sum(map(len, expected.detections.values())) > 100
    assert found.result == expected.result
    assert all(same(found.detections[key], one) for key, one in expected.detections.items())
    assert found.detections[3].class_names == expected.detections[3].class_names
    image = dataset.sample(5).image
    assert same(Predictor(MultiScalePipeline.of(plain, test))(image), Predictor(plain)(image))


def test_the_views_are_those_of_atss():
    views = MultiScaleTest().views(InputSpec())
    assert [(view.scale, view.input.resize.max_size, view.object_sizes) for view in views] == [
        (800, 1333, (0, None)),
        *((scale, 1333, (96, None)) for scale in (400, 500)),
        *((scale, 1333, (64, None)) for scale in (600, 640, 700)),
        *((scale, 3000, (0, None)) for scale in (900, 1000)),
        *((scale, 3000, (0, 256)) for scale in (1100, 1200)),
        *((scale, 3000, (0, 192)) for scale in (1300, 1400)),
        (1800, 3000, (0, 96)),
    ]
    assert views[0].input == InputSpec()
    assert {replace(view.input, resize=InputSpec().resize) for view in views} == {InputSpec()}


def test_another_size_of_the_experiment_has_all_in_proportion():
    views = MultiScaleTest().views(replace(GREY, resize=Letterbox((416, 832), rounding="down")))
    assert [view.input.resize.size for view in views[:3]] == [(416, 832), (208, 416), (260, 520)]
    assert {view.input.resize.rounding for view in views} == {"down"}
    assert views[1].object_sizes == (96 * 416 / 800, None)
    assert views[-1].input.resize.size == (936, 1872)
    assert views[-1].object_sizes == (0, 96 * 416 / 800)
    small = MultiScaleTest().views(replace(GREY, resize=ResizeShortestEdge((400,), 666)))
    assert [view.input.resize for view in small[:2]] == [
        ResizeShortestEdge((400,), 666),
        ResizeShortestEdge((200,), 666),
    ]
    assert small[-1].input.resize == ResizeShortestEdge((900,), 1499)


def test_scales_of_ones_own_answer_for_what_the_nearest_of_atss_does():
    views = MultiScaleTest(scales=(100, 200, 399, 2000)).views(replace(GREY, resize=ResizeShortestEdge((400,), 600)))
    assert [view.object_sizes for view in views] == [(48, None), (48, None), (0, None), (0, 48)]
    assert views[-1].input.resize.max_size == 3000
    assert str(views[0]) == "100 (objects above 48)"
    assert str(views[-1]) == "2000 (objects below 48)"
    own = MultiScaleTest(scales=(100, 200), object_sizes=((3, 7.5), (0, None)), longest=230)
    assert [(view.object_sizes, view.input.resize.max_size) for view in own.views(GREY)] == [
        ((3, 7.5), 230),
        ((0, None), 230),
    ]


@pytest.mark.parametrize("resize", [ResizeShortestEdge((80,), 400), Letterbox((80, 160), (0, 0, 0))])
@pytest.mark.parametrize(("height", "width"), [(80, 100), (61, 37)])
def test_what_all_views_see_is_one_detection_in_pixels_of_the_image(resize, height, width):
    box = [7, 11, 30, 44]
    model = Finder()
    predictor = Predictor(multi_scale(model, replace(PLAIN, resize=resize), scales=(80, 40, 120, 161)))
    found = predictor(picture(box, height, width))
    assert found.boxes.tolist() == [pytest.approx(box, abs=1)]
    assert found.class_names == ["a"]
    assert len(model.seen) == 8
    assert {shape[:2] for shape in model.seen} == {(1, 3)}


def test_boxes_of_a_mirrored_view_are_mirrored_back():
    """NMS at 0 leaves one of two boxes that meet: with a first view that sees nothing, that of the mirrored one."""

    class OnlyRight(Finder):
        """Finds nothing that begins in the left half."""

        def forward(self, images):
            predictions, anchors = super().forward(images)
            is_right = predictions.boxes[..., :1] >= images.shape[3] / 2
            return replace(predictions, logits=torch.where(is_right, predictions.logits, -9.0)), anchors

    left = picture([10, 20, 42, 60], width=128)
    assert len(Predictor(multi_scale(OnlyRight(), scales=(80,), flip=False))(left)) == 0
    assert Predictor(multi_scale(OnlyRight(), scales=(80,)))(left).boxes.tolist() == [[10, 20, 42, 60]]
    # 80 x 90 pixels are padded to 96 x 96: the padding is to the right of the mirrored picture as well.
    narrow = picture([10, 20, 42, 60], width=90)
    assert Predictor(multi_scale(OnlyRight(), scales=(80,)))(narrow).boxes.tolist() == [[10, 20, 42, 60]]


def test_a_mirrored_image_has_mirrored_detections():
    """With flips, a network without any symmetry finds in the mirror what it finds in the picture."""
    pipeline = multi_scale(SumOfTheRest(), GREY, Postprocess(0.3, nms_iou=1.0), scales=(64, 96))
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    found, mirrored = (Predictor(pipeline)(one) for one in (image, image[:, ::-1].copy()))
    assert len(found) > 20
    back = mirrored.boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([80, 0, 80, 0])
    order, other = (
        np.lexsort(np.round((*boxes.numpy().T, scores.numpy()), 2))
        for boxes, scores in ((found.boxes, found.scores), (back, mirrored.scores))
    )
    torch.testing.assert_close(found.boxes[order], back[other], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores[order], mirrored.scores[other])


def test_a_scale_answers_for_its_objects_alone():
    """A square of 20 pixels is one of 20 at scale 80, 10 at 40 and 40 at 160; both ends are excluded."""
    image = picture([10, 20, 30, 40])

    def count(scale, sizes):
        fields = {"scales": (scale,), "object_sizes": (sizes,), "flip": False}
        return len(Predictor(multi_scale(**fields))(image))

    for scale, size in ((80, 20), (40, 10), (160, 40)):
        expected = {
            (0, None): 1,
            (size - 0.5, None): 1,
            (size, None): 0,
            (0, size + 0.5): 1,
            (0, size): 0,
            (size - 1, size + 1): 1,
            (size + 1, size + 2): 0,
        }
        assert {sizes: count(scale, sizes) for sizes in expected} == expected


def test_what_hangs_over_the_image_is_as_large_as_its_part_inside():
    class Overhanging(Finder):
        def forward(self, images):
            predictions, anchors = super().forward(images)
            return replace(predictions, boxes=torch.tensor([[[-500.0, 30.0, 10.0, 70.0]]])), anchors

    def count(*sizes):
        fields = {"scales": (80,), "object_sizes": (sizes,), "flip": False}
        return len(Predictor(multi_scale(Overhanging(), **fields))(picture([1, 1, 5, 5])))

    assert count(19.9, 20.1) == 1
    assert count(20.1, None) == 0


def test_the_best_of_all_views_stays():
    class Sharper(Finder):
        """Is surer the larger the view is."""

        def forward(self, images):
            predictions, anchors = super().forward(images)
            return replace(predictions, logits=predictions.logits - 3 + images.shape[2] / 100), anchors

    def count(**fields):
        three = {"scales": (64, 256, 128), "object_sizes": ((0, None),) * 3, "flip": False}
        found = Predictor(multi_scale(Sharper(), postprocess=Postprocess(0.01, **fields), **three))(image)
        assert found.scores[0].item() == pytest.approx(1 / (1 + math.exp(-1.56)))
        return len(found)

    image = picture([10, 20, 42, 60], 64, 128)
    assert count(nms_iou=0.5) == 1
    assert count(nms_iou=1.0) == 3
    assert count(nms_iou=1.0, max_detections=2) == 2


def test_no_view_outlives_its_turn():
    """`Finder` refuses to be called while an input of an earlier view is still there."""
    gc.disable()
    try:
        model = Finder()
        Predictor(multi_scale(model))([picture([10, 20, 42, 60])] * 2)
    finally:
        gc.enable()
    assert len(model.seen) == 2 * 26


def test_images_are_read_as_large_as_the_largest_view_needs_them():
    transform = multi_scale(scales=(80, 320)).transform
    assert transform.needed_size(100, 200) == (320, 640)
    assert transform.output_size(100, 200) == (100, 200)


def test_an_evaluation_in_batches_and_by_two_processes_is_the_same(tmp_path):
    write_portraits_and_landscapes(tmp_path)
    dataset = coco_dataset(tmp_path / "truth.json", tmp_path)
    pipeline = multi_scale(SumOfTheRest(), GREY, scales=(64, 100))
    one, many = (predict_dataset(pipeline, pipeline_loader(pipeline, dataset, batch_size=size)) for size in (1, 5))
    assert all(same(one[key], many[key]) for key in one)
    assert len(one) == 16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales": ()}, "scales: there are 0; give from 1 to 100"),
        ({"scales": (80, 80)}, "scales: 80 is there twice"),
        ({"scales": (0,)}, "scales 0: must be at least 1"),
        ({"scales": (99_999,)}, "scales 99999: must be at most 65,535"),
        ({"scales": (80, 1.5)}, "scales = .*expected a list of whole numbers"),
        ({"scales": (80,), "object_sizes": ((0, None), (0, None))}, "object_sizes: there are 2 for 1 scales"),
        ({"object_sizes": ((0, None),)}, "object_sizes: there are 1 for 13 scales"),
        ({"scales": (80,), "object_sizes": ((9, 3),)}, "object_sizes 9-3: must be two from 0 to 1,000,000"),
        ({"scales": (80,), "object_sizes": ((-1, None),)}, "object_sizes -1-: must be two from 0 to 1,000,000"),
        ({"scales": (80,), "object_sizes": ((0, math.inf),)}, "object_sizes 0-inf: must be two from 0 to 1,000,000"),
        ({"scales": (80,), "object_sizes": ((math.nan, None),)}, "object_sizes nan-: must be two from 0 to 1,000,000"),
        (
            {"scales": (80,), "object_sizes": ((10**400, None),)},
            "object_sizes 1000.*401 char.*: must be two",
        ),
        ({"scales": tuple(range(1, 60_000))}, "scales: there are 59999; give from 1 to 100"),
        ({"longest": 0}, "longest 0: must be at least 1"),
    ],
)
def test_values_that_cannot_work_are_refused(fields, message):
    with pytest.raises(UserError, match=f"MultiScaleTest: {message}"):
        MultiScaleTest(**fields)


def test_views_that_cannot_be_had_are_refused():
    for fields, spec, message in (
        ({"scales": (80, 500), "longest": 400}, PLAIN, "tta.longest 400: is below the scale 500"),
        ({"longest": 400}, BOXED, "tta.longest 400: a letterbox has no other limit"),
        ({"scales": (20_000,)}, PLAIN, "tta.scales 20000: .*max_size 100000: must be at most 65,535"),
        ({}, replace(PLAIN, resize=Letterbox((8000, 8000))), "tta.scales 9000: .*at most 67,108,864 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            multi_scale(spec=spec, **fields)


def test_a_postprocessing_without_the_two_steps_is_refused():
    class Own(Postprocess):
        def __call__(self, predictions, anchors):
            return super().__call__(predictions, anchors)

    class Derived(Postprocess):
        def merge(self, candidates):
            return super().merge(candidates)[:0]

    def mine(predictions, anchors):
        return []

    for own, name in ((mine, "mine"), (Own(), "Own")):
        with pytest.raises(UserError, match=f"tta: .* the experiment's {name} has none of its own; take Postprocess"):
            multi_scale(postprocess=own)
    assert len(Predictor(multi_scale(postprocess=Derived()))(picture([10, 20, 42, 60]))) == 0

    class Special(Pipeline):
        pass

    with pytest.raises(UserError, match="tta: views are made by a plain Pipeline, and build_pipeline gives a Special"):
        MultiScalePipeline.of(Special(Finder(), PLAIN, Postprocess(), ("a", "b")), MultiScaleTest())


def test_each_value_can_be_set_by_name():
    exp = BaseExp()
    exp.override(["tta.scales", "400,800", "object_sizes", "96-,0-128.5", "tta.flip", "false", "longest", "1500"])
    assert exp.tta == MultiScaleTest((400, 800), ((96, None), (0, 128.5)), False, 1500)
    exp.override(["tta.scales", "none", "tta.object_sizes", "none", "tta.longest", "none"])
    assert exp.tta == MultiScaleTest(flip=False)
    for text in ("96", "96-,x", "-96", "96-5-7", "", "1e3-", "96--5", "9" * 20 + "-"):
        with pytest.raises(UserError, match=r"tta.object_sizes .*: expected the sizes of each scale, such as 96-,0-"):
            exp.override(["tta.scales", "80", "tta.object_sizes", text])
    with pytest.raises(UserError, match=r"tta.object_sizes 9.0-3.0: must be two from 0 to 1,000,000"):
        exp.override(["tta.scales", "80", "tta.object_sizes", "9-3"])
