"""From an image to its detections, in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from otadet.data.batch import collate, to_original
from otadet.data.images import UPRIGHT, ReadOptions, read_image
from otadet.data.sample import Sample, Transform
from otadet.engine.checkpoint import load_checkpoint, put_weights
from otadet.engine.older import NETWORK, check_same_values, with_older_fields
from otadet.engine.restore import changed_fields
from otadet.errors import UserError
from otadet.inference.postprocess import Postprocess
from otadet.models.detector import Detector, as_detector
from otadet.models.normalize import PixelNorm
from otadet.names import name_list
from otadet.structures import Detections

if TYPE_CHECKING:
    from otadet.exp import BaseExp


class Predictor:
    """A detector that is called with an image.

    >>> predictor = Predictor.from_experiment(load_exp("exps/quickstart.py"), "runs/quickstart/best.pth")
    >>> detections = predictor("photo.jpg")
    >>> [predictor.class_names[label] for label in detections.labels]
    """

    def __init__(
        self,
        model: Detector,
        transform: Transform,
        normalize: PixelNorm,
        postprocess: Postprocess,
        class_names: Sequence[str],
        device: torch.device | str = "cpu",
        options: ReadOptions = UPRIGHT,
    ) -> None:
        """`transform` is that of evaluation: it resizes and pads, without chance. `model` is moved to `device`.

        options: how image files are read; by default as people see them, their EXIF orientation applied.
        """
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.transform = transform
        self.normalize = normalize
        self.postprocess = postprocess
        self.class_names = tuple(class_names)
        self.options = options

    @classmethod
    def from_experiment(cls, exp: BaseExp, checkpoint: str | Path, device: torch.device | str = "cpu") -> Predictor:
        """The experiment's detector with a checkpoint's weights (the averaged ones, if any) and class names.

        Raises `UserError` for a checkpoint that cannot be read or does not fit the experiment.
        """
        model, state = load_detector(exp, checkpoint)
        return cls(
            model,
            exp.build_test_transform(),
            exp.build_normalize(),
            exp.build_postprocess(),
            state["class_names"],
            device,
            replace(exp.build_read_options(), upright=True),
        )

    @torch.no_grad()
    def __call__(self, image: np.ndarray | str | Path) -> Detections:
        """Detect objects in an image file, or in an array (H, W, 3) uint8 RGB.

        Returns boxes in pixels of that image, clipped to it, best score first, on the CPU; those of a file are pixels
        of the upright picture. Raises `UserError` for a file that cannot be read, `ValueError` for another kind of
        array.
        """
        if not isinstance(image, np.ndarray):
            image = read_image(image, self.options)
        return detect_in_image(image, self.transform, self.normalize.pad_value, self.model.size_divisor, self._detect)

    def _detect(self, images: Tensor) -> Detections:
        predictions, anchors = self.model(self.normalize(images.to(self.device)))
        return self.postprocess(predictions, anchors)[0].to("cpu")


def detect_in_image(
    image: np.ndarray,
    transform: Transform,
    pad_value: tuple[int, int, int],
    size_divisor: int,
    detect: Callable[[Tensor], Detections],
) -> Detections:
    """What surrounds a detector, whichever it is: from an image to its input, and from its output to the image.

    image, and what is returned and raised: as in `Predictor.__call__`. detect: called with (1, 3, H, W) uint8 RGB,
    padded to multiples of `size_divisor`; returns boxes in pixels of that.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"an image must be (H, W, 3) uint8 RGB; this one is {image.shape} {image.dtype}")
    size = image.shape[:2]
    whole = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "", size)
    sample = transform(whole, np.random.default_rng(0))
    found = to_original(detect(collate([sample], pad_value, size_divisor).images), sample.scale, size)
    # What was found in the padding has no size once it is clipped to the image.
    return found[(found.boxes[:, 2:] > found.boxes[:, :2]).all(dim=1)]


def load_detector(
    exp: BaseExp,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    state: dict[str, Any] | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """The experiment's model with a checkpoint's weights, in evaluation mode on the CPU, and the checkpoint's content.

    class_names: those of the data that the model is to be used on; None takes the checkpoint's. state: what
    `load_checkpoint` returned, where it was called already. Raises `UserError` for
    a checkpoint that cannot be read, does not fit the experiment, or was trained for other classes.
    """
    state = load_checkpoint(checkpoint) if state is None else state
    names = state["class_names"]
    if exp.num_classes not in (None, len(names)):
        raise UserError(
            f"{checkpoint}: trained for {len(names)} classes ({name_list(names)}), but num_classes is "
            f"{exp.num_classes}; leave num_classes unset"
        )
    trained = with_older_fields(state.get("exp") or {})
    check_same_values(checkpoint, NETWORK, trained, exp.describe())
    # The checkpoint has all weights: do not read or download those that its training started from.
    exp = copy(exp)
    exp.weights = None
    model = as_detector(exp.build_model(len(names)))
    put_weights(model, checkpoint, state, class_names)
    own = {"mean": tuple(exp.mean), "std": tuple(exp.std), "image_bits": exp.image_bits}
    if changes := changed_fields(trained, own):
        logger.warning(f"{checkpoint}: the experiment has other values than the training had: {changes}")
    return model.eval(), state
