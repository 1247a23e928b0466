"""A pipeline run over a data set and measured, on one device or several, in training and by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor, nn

from otadet.data.batch import Batch
from otadet.data.dataset import DetectionDataset
from otadet.data.loader import BatchStream, eval_loader
from otadet.data.reading import SampleSource
from otadet.data.workers import no_stop
from otadet.distributed import gather_objects, is_main, on_any_rank, raise_together, rank, world_size
from otadet.evaluation.coco import readable
from otadet.evaluation.judge import AUTO
from otadet.evaluation.protocols import PROTOCOLS
from otadet.evaluation.result import Result
from otadet.inference.one_by_one import one_by_one
from otadet.inference.pipeline import Pipeline, PixelDetector, size_in_input, to_image
from otadet.structures import Detections


class Interrupted(Exception):
    """An evaluation ended before its time, on all processes, because one of them was asked to stop."""


@dataclass(frozen=True)
class Evaluation:
    """What was found in a data set, and how good it is."""

    result: Result
    detections: dict[int, Detections]
    """Image id -> what was found there, in pixels of the file."""


def evaluate(
    pipeline: PixelDetector,
    dataset: DetectionDataset,
    *,
    batch_size: int = 16,
    workers: int = 0,
    unreadable: str = "fail",
    protocol: str | None = None,
    judge: str = AUTO,
    left_out: dict[int, str] | None = None,
    stop: Callable[[], bool] = no_stop,
    progress: Callable[[int], None] | None = None,
) -> Evaluation | None:
    """Detect in every image of a data set by a pipeline or an exported file, and compare with its ground truth.

    Every process of a distributed run calls this with its own pipeline, and has its share of the images; the numbers
    are those of one process with one image at a time. The main process has the outcome, all others None.

    Args:
        batch_size: images that are loaded together on each process.
        workers: loader processes per process; 0: none.
        unreadable: "fail" raises the `UserError` of an image that cannot be read, "skip" evaluates without it.
        protocol: whose evaluation, a name in `PROTOCOLS`; None: the one that the data have.
        judge: the program that computes the numbers; "auto": the fastest of those that are there.
        left_out: gets an entry, index -> what is wrong, for each image that was skipped on this process.
        stop: whether this process was asked to stop, which it tells the others.
        progress: is called with the number of images that this process is done with.

    Raises `Interrupted` on all processes where any was asked to stop, `UserError` for classes that the data set does
    not have, for a judge that is not there, and where no image can be read.
    """
    measure = PROTOCOLS[protocol or dataset.annotations.protocol]
    measure.find_judge(judge)
    left_out = {} if left_out is None else left_out
    loader = pipeline_loader(
        pipeline, dataset, batch_size=batch_size, workers=workers, unreadable=unreadable, left_out=left_out, stop=stop
    )
    share = _share_found(pipeline, loader, stop, progress)
    shares = gather_objects((share, left_out))
    if not is_main():
        return None
    found = dict(sorted(entry for share, _ in shares for entry in share.items()))
    problems = {index: message for _, messages in shares for index, message in messages.items()}
    return Evaluation(measure.evaluate(dataset, found, readable(dataset, found, problems), judge=judge), found)


def _share_found(
    pipeline: PixelDetector, loader: Iterable[Batch], stop: Callable[[], bool], progress: Callable[[int], None] | None
) -> dict[int, Detections]:
    """Image id -> what was found in this process's share of the images. What one process raises ends all of them."""
    share: dict[int, Detections] = {}
    error = None
    try:
        batches = takewhile(lambda batch: not stop(), loader)
        share = predict_dataset(pipeline, batches if progress is None else _counted(batches, progress))
    except Exception as raised:
        error = raised
    if on_any_rank(error is not None):
        raise_together(error)
    if on_any_rank(stop()):
        raise Interrupted
    return share


def pipeline_loader(
    pipeline: PixelDetector,
    dataset: SampleSource,
    *,
    batch_size: int,
    workers: int = 0,
    unreadable: str = "fail",
    left_out: dict[int, str] | None = None,
    stop: Callable[[], bool] = no_stop,
) -> BatchStream:
    """This process's share of the images, as the pipeline takes them; the arguments are those of `evaluate`."""
    return eval_loader(
        dataset,
        pipeline.transform,
        batch_size=batch_size,
        rank=rank(),
        world_size=world_size(),
        workers=workers,
        pad_value=pipeline.pad_value,
        size_divisor=pipeline.size_divisor,
        pin_memory=pipeline.device.type == "cuda",
        unreadable=unreadable,
        left_out=left_out,
        stop=stop,
    )


def predict_dataset(pipeline: PixelDetector, loader: Iterable[Batch]) -> dict[int, Detections]:
    """Run the pipeline over a data set: image id -> detections in pixels of the original image, on the CPU, by id.

    What is found in an image depends on no other image, to the last bit: in a batch of another size, or with another
    number of threads, convolutions round differently, which changes the order of nearly equal scores and so the AP. So
    each image runs alone; on a CPU as many at a time as there are threads, each in one of them, whatever the batch.

    The network of a `Pipeline` is put into evaluation mode, and back into the mode it was in.
    """

    def detect(image: _Image) -> tuple[int, Detections]:
        (found,) = pipeline(image.pixels[None], [size_in_input(image.scale, image.original_size)])
        return image.image_id, to_image(found, image.scale, image.original_size)

    with _as_the_predictor_has_it(pipeline), one_by_one(pipeline.device) as run:
        detections = dict(run(detect, _images(loader)))
    return dict(sorted(detections.items()))


@dataclass(frozen=True)
class _Image:
    """One of a batch."""

    pixels: Tensor
    """(3, H, W) uint8, as the pipeline takes it."""
    image_id: int
    scale: tuple[float, float]
    """(x, y), of the resizing."""
    original_size: tuple[int, int]
    """(height, width) of the file in pixels."""


def _images(loader: Iterable[Batch]) -> Iterator[_Image]:
    for batch in loader:
        yield from map(_Image, batch.images, batch.image_ids, batch.scales, batch.original_sizes)


def _counted(batches: Iterable[Batch], progress: Callable[[int], None]) -> Iterator[Batch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        progress(done)


@contextlib.contextmanager
def _as_the_predictor_has_it(pipeline: PixelDetector) -> Iterator[None]:
    """In evaluation mode, and with weights laid out as (O, I, H, W): the layout has a say in how sums are rounded."""
    if not isinstance(pipeline, Pipeline):
        yield
        return
    model: nn.Module = pipeline.model
    training = {module: module.training for module in model.modules()}
    permuted = [tensor for tensor in model.state_dict(keep_vars=True).values() if not tensor.is_contiguous()]
    layouts = [(tensor, tensor.data) for tensor in permuted]
    model.eval()
    for tensor in permuted:
        tensor.data = tensor.data.contiguous()
    try:
        yield
    finally:
        for tensor, data in layouts:
            tensor.data = data
        for module, was in training.items():
            module.training = was
