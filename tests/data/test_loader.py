import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from otadet.data.batch import Batch, collate
from otadet.data.loader import eval_loader, train_loader
from otadet.data.transforms import Compose, Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.inference.pipeline import to_image
from otadet.structures import Detections
from tests.helpers.noise_images import AUGMENT, GREY, Noise, assert_same, stream


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_tail_of_the_stream(workers):
    whole = stream()
    assert len(whole) == 7
    assert_same(stream(start_iteration=3, workers=workers), whole[3:])


def test_ranks_share_the_batch_of_one_device():
    whole = stream(batch_size=6)
    shares = [stream(batch_size=6, rank=rank, world_size=3) for rank in range(3)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch.image_ids == [image_id for part in parts for image_id in part.image_ids]
        boxes = [truth.boxes for part in parts for truth in part.truths]
        assert all(torch.equal(truth.boxes, other) for truth, other in zip(batch.truths, boxes, strict=True))


@pytest.mark.parametrize("images", [1, 3, 5, 40])
def test_every_epoch_is_a_new_permutation_and_every_batch_full(images):
    batches = stream(Noise(images), iterations=30)
    assert all(len(batch) == 4 for batch in batches)
    ids = [image_id for batch in batches for image_id in batch.image_ids]
    epochs = [ids[start : start + images] for start in range(0, len(ids) - images + 1, images)]
    assert all(sorted(epoch) == list(range(100, 100 + images)) for epoch in epochs)
    assert images == 1 or len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_one_orientation_resume_too(workers):
    options = {"group_by_aspect": True, "batch_size": 6, "iterations": 12, "world_size": 2}
    for rank in (0, 1):
        whole = stream(Noise(18), rank=rank, **options)
        assert_same(stream(Noise(18), start_iteration=5, workers=workers, rank=rank, **options), whole[5:])
        tall = [[height > width for height, width in batch.original_sizes] for batch in whole]
        assert {tuple(batch) for batch in tall} == {(True,) * 3, (False,) * 3}


def test_orientation_needs_the_sizes_of_the_images():
    class Unsized:
        def __len__(self):
            return 5

    with pytest.raises(UserError, match="group_by_aspect: Unsized does not know the sizes"):
        stream(Unsized(), group_by_aspect=True)


def test_the_seed_changes_order_and_augmentation():
    one, other = stream(seed=1), stream(seed=2)
    assert [batch.image_ids for batch in one] != [batch.image_ids for batch in other]
    first, second = stream(Noise(1), seed=1)[0], stream(Noise(1), seed=2)[0]
    assert first.images.shape != second.images.shape or not torch.equal(first.images, second.images)


def test_a_repeated_image_is_augmented_anew():
    assert len({batch.images.numpy().tobytes() for batch in stream(Noise(1), batch_size=1, iterations=10)}) > 5


def test_iterating_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    stream()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_clear_error(workers):
    with pytest.raises(UserError, match=r"^3\.png: broken$"):
        stream(Noise(5, broken=3), workers=workers)


@pytest.mark.parametrize("group_by_aspect", [False, True])
def test_another_image_takes_the_place_of_one_that_is_lost(group_by_aspect):
    options = {"unreadable": "skip", "iterations": 20, "group_by_aspect": group_by_aspect}
    healthy = stream(Noise(14), **options)
    lost = Noise(14, all_broken=(3, 12))
    whole = stream(lost, **options)
    for before, after in zip(healthy, whole, strict=True):
        assert len(after) == len(before)
        kept = [place for place, image_id in enumerate(before.image_ids) if image_id not in (103, 112)]
        assert [after.image_ids[place] for place in kept] == [before.image_ids[place] for place in kept]
        assert not {103, 112} & set(after.image_ids)
        if group_by_aspect:
            assert len({height > width for height, width in after.original_sizes}) == 1
    assert len({image_id for batch in whole for image_id in batch.image_ids}) == 12
    assert_same(stream(lost, start_iteration=11, workers=2, **options), whole[11:])


def test_lost_images_are_named_once_and_counted():
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    batches = train_loader(
        Noise(6, all_broken=(1, 4)),
        AUGMENT,
        batch_size=4,
        iterations=9,
        pad_value=GREY,
        size_divisor=32,
        unreadable="skip",
        workers=2,
    )
    list(batches)
    logger.remove(sink)
    assert sorted(batches.unreadable) == [1, 4]
    assert sorted(line.split(";")[0] for line in lines) == ["WARNING 1.png: broken", "WARNING 4.png: broken"]
    assert lines[1].endswith("(unreadable images so far: 2)\n")


@pytest.mark.parametrize("images", [1, 6, 300])
def test_a_folder_that_is_gone_is_an_error(images):
    gone = Noise(images, all_broken=tuple(range(images)))
    with pytest.raises(
        UserError, match=rf"^{min(images, 101)} images.*folder still there\? The last: \d+\.png: broken"
    ):
        stream(gone, unreadable="skip", batch_size=1)


def test_a_lack_of_descriptors_is_no_fault_of_an_image():
    class Exhausted(Noise):
        def sample(self, index):
            raise UserError("0.png: cannot be read") from OSError(24, "Too many open files")

    for unreadable in ("skip", "fail"):
        with pytest.raises(UserError, match=r"^0\.png: cannot be read$"):
            stream(Exhausted(3), unreadable=unreadable)


def test_what_a_data_set_returns_is_checked_whatever_is_done_to_it():
    class Pairs(Noise):
        def sample(self, index):
            return super().sample(index).image, []

    class Doubles(Noise):
        def sample(self, index):
            found = super().sample(index)
            return replace(found, boxes=found.boxes.astype(np.float64), labels=found.labels.astype(np.int32))

    for transform in (Compose(()), ResizeShortestEdge((24,), 60)):
        with pytest.raises(UserError, match=r"^Pairs: returned a tuple; needed is a Sample$"):
            stream(Pairs(3), transform)
        assert_same(stream(Doubles(3), transform), stream(Noise(3), transform))


def evaluation(dataset, transform, **options) -> list[Batch]:
    return list(eval_loader(dataset, transform, **{"batch_size": 3, "pad_value": GREY, "size_divisor": 32, **options}))


def test_evaluation_leaves_out_what_is_lost():
    batches = evaluation(Noise(9, all_broken=(0, 4)), Letterbox((32, 32), GREY), unreadable="skip", workers=2)
    assert sorted(image_id for batch in batches for image_id in batch.image_ids) == [101, 102, 103, 105, 106, 107, 108]
    with pytest.raises(UserError, match=r"0\.png: broken"):
        evaluation(Noise(9, all_broken=(0, 4)), Letterbox((32, 32), GREY))
    assert evaluation(Noise(2, all_broken=(0, 1)), Letterbox((32, 32), GREY), unreadable="skip") == []


class OwnTransform:
    """A user's, which says nothing of the size of its results."""

    def __call__(self, sample, rng):
        return ResizeShortestEdge((40,), 80)(sample, rng)


SMALL = ResizeShortestEdge((40,), 80)


@pytest.mark.parametrize(
    ("transform", "size_is_known"),
    [(SMALL, True), (Compose((SMALL,)), True), (OwnTransform(), False), (Compose((OwnTransform(), SMALL)), False)],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_is_padded_more_in_a_batch_than_alone(transform, size_is_known, workers):
    alone = {batch.image_ids[0]: batch for batch in evaluation(Noise(40), transform, batch_size=1)}
    assert len({batch.images.shape for batch in alone.values()}) == 2
    batches = evaluation(Noise(40), transform, batch_size=7, workers=workers)
    assert sorted(image_id for batch in batches for image_id in batch.image_ids) == list(range(100, 140))
    for batch in batches:
        for image_id, image in zip(batch.image_ids, batch.images, strict=True):
            assert torch.equal(image, alone[image_id].images[0])
    if size_is_known:
        # At most one batch of each size is not full.
        not_full = [batch.images.shape[2:] for batch in batches if len(batch) < 7]
        assert len(not_full) == len(set(not_full))


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_ranks_share_the_evaluation_fairly(images, batch_size, world_size):
    options = {"batch_size": batch_size, "world_size": world_size}
    ranks = [
        eval_loader(Noise(images), SMALL, rank=rank, pad_value=GREY, size_divisor=32, **options)
        for rank in range(world_size)
    ]
    shares = [[index for batch in loader._work.items for index, _ in batch] for loader in ranks]
    assert sorted(index for share in shares for index in share) == list(range(images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(len(batch) <= batch_size for loader in ranks for batch in loader._work.items)


def test_loaders_can_be_sent_to_workers_that_are_started_anew():
    loader = train_loader(Noise(5), AUGMENT, batch_size=2, iterations=3, pad_value=GREY, size_divisor=32)
    work = pickle.loads(pickle.dumps(loader._work))
    assert work.make([(2, 9)]).batches[0].image_ids == [102]
    assert list(work.items) == list(loader._work.items)


@pytest.mark.parametrize(("images", "world_size"), [(7, 1), (7, 3), (2, 4), (8, 4), (0, 2)])
def test_evaluation_sees_every_image_once(images, world_size):
    seen = []
    for rank in range(world_size):
        loader = eval_loader(
            Noise(images),
            Letterbox((32, 32), GREY),
            batch_size=2,
            rank=rank,
            world_size=world_size,
            pad_value=GREY,
            size_divisor=32,
        )
        batches = list(loader)
        assert len(batches) == len(loader)
        seen += [image_id for batch in batches for image_id in batch.image_ids]
    assert sorted(seen) == list(range(100, 100 + images))


def test_padding_is_at_the_right_and_bottom():
    samples = [Noise(40).sample(index) for index in (30, 1)]
    batch = collate(samples, GREY, size_divisor=32)
    assert batch.images.shape == (2, 3, 64, 32)
    assert batch.images.dtype == torch.uint8
    for image, sample in zip(batch.images, samples, strict=True):
        height, width = sample.image.shape[:2]
        content = image[:, :height, :width].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(content, sample.image)
        assert (image[:, height:].flatten(1) == torch.tensor(GREY)[:, None]).all()
        assert (image[:, :, width:].flatten(1) == torch.tensor(GREY)[:, None]).all()


def test_a_batch_without_any_box_is_a_batch():
    batch = collate([Noise(4).sample(0), Noise(4).sample(3)], GREY, 32)
    assert [tuple(truth.boxes.shape) for truth in batch.truths] == [(0, 4), (0, 4)]
    assert batch.to("cpu").truths[0].labels.dtype == torch.int64


@dataclass(frozen=True)
class Crowded(Noise):
    """Four images of noise: the first has three regions to ignore, the last has one."""

    def sample(self, index):
        regions = np.array([[0, 0, 10, 10], [2, 3, 20, 9], [4, 4, 30, 20]], np.float32)
        return replace(super().sample(index), ignored=regions[: (3, 0, 0, 1)[index]])


@pytest.mark.parametrize("workers", [0, 2])
def test_ignored_regions_come_with_their_image(workers):
    ignored = {}
    for batch in evaluation(Crowded(4), SMALL, batch_size=4, workers=workers):
        for image_id, truth, (x, y) in zip(batch.image_ids, batch.truths, batch.scales, strict=True):
            ignored[image_id] = truth.ignored / torch.tensor((x, y, x, y))
    assert [len(ignored[100 + n]) for n in range(4)] == [3, 0, 0, 1]
    torch.testing.assert_close(ignored[100][1], torch.tensor([2.0, 3, 20, 9]))
    without = evaluation(Noise(4), SMALL, workers=workers)
    assert all(truth.ignored is None for batch in without for truth in batch.truths)


def test_a_batch_goes_to_a_device_with_its_ignored_regions():
    (batch,) = evaluation(Crowded(3), ResizeShortestEdge((32,), 64), batch_size=3)
    moved = batch.to("meta")
    for truth, there in zip(batch.truths, moved.truths, strict=True):
        assert there.ignored.device.type == there.boxes.device.type == "meta"
        assert (there.ignored.shape, there.boxes.shape) == (truth.ignored.shape, truth.boxes.shape)
    assert collate([Noise(4).sample(1)], GREY, 32).to("meta").truths[0].ignored is None


def test_detections_go_back_to_the_file_and_are_clipped():
    sample = Letterbox((64, 64), GREY)(Noise(12).sample(11), np.random.default_rng(0))
    boxes = torch.from_numpy(np.concatenate((sample.boxes, [[-5, -5, 80, 80]])).astype(np.float32))
    detections = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 1]))
    original = to_image(detections, sample.scale, sample.original_size)
    expected = [[1, 2, 10, 12], [5, 5, 25, 15], [0, 0, 30, 31]]
    torch.testing.assert_close(original.boxes, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(original.scores, detections.scores)


@pytest.mark.parametrize(("batch_size", "world_size"), [(3, 2), (0, 1), (1, 2)])
def test_a_batch_that_ranks_cannot_share_is_refused(batch_size, world_size):
    with pytest.raises(UserError, match=f"batch_size {batch_size}.*{world_size} devices"):
        stream(batch_size=batch_size, world_size=world_size)


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="seed is -1"):
        stream(seed=-1)


def test_an_empty_training_set_is_refused():
    with pytest.raises(UserError, match="no images"):
        train_loader(Noise(0), AUGMENT, batch_size=1, iterations=1, pad_value=GREY, size_divisor=32)


@dataclass(frozen=True)
class Named(Noise):
    """With names of the two classes that it has."""

    class_names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class Relabelled:
    """Every object is of one class."""

    label: int

    def __call__(self, sample, rng):
        return replace(sample, labels=np.full_like(sample.labels, self.label))


def test_a_label_beyond_the_classes_is_an_error_of_its_image():
    resize = ResizeShortestEdge((24,), 60)
    stream(Named(5), Compose((resize, Relabelled(1))))
    with pytest.raises(
        UserError, match=r"^[1-4]\.png: the transforms made it a label of 2, but the data have 2 classes"
    ):
        stream(Named(5), Compose((resize, Relabelled(2))))
