"""The base of every experiment: a class whose fields hold parts. The defaults are the paper's main row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from otadet.assigners import Assigner, OTAAssigner
from otadet.data.dataset import DetectionDataset
from otadet.data.images import ReadOptions
from otadet.data.sample import TrainTransform
from otadet.data.sampling import RepeatFactor
from otadet.data.transforms import Compose, Letterbox, MultiScale, RandomFlip, ResizeShortestEdge
from otadet.engine.accumulation import check_can_be_summed
from otadet.engine.columns import training_columns
from otadet.errors import UserError, did_you_mean
from otadet.exp.backbones import ResNet
from otadet.exp.data import Data, DataFolder
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.fields import check_fields, fields_of, is_part
from otadet.exp.heard import check_heard, own_methods, unheard_settings
from otadet.exp.losses import BCEIoU, FocalGIoU, FreeAnchor
from otadet.exp.pairs import incomplete
from otadet.exp.plain import to_plain
from otadet.exp.run import SCORES, Run
from otadet.exp.set_fields import changed, paths_set
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.inference.views import MultiScaleTest
from otadet.limits import brief
from otadet.models import Detector
from otadet.models.detector import as_detector
from otadet.optim.length import Epochs, Iterations, Training
from otadet.optim.optimizer import SGD, AdamW
from otadet.optim.schedule import Cosine, Steps


class BaseExp:
    """FCOS-R50-FPN with OTA, 1x on COCO 2017.

    Any field of a part can be set as `part.name value` on the command line, or as `name value` where one part alone
    has it. An experiment file sets whole parts, and may declare further fields with their types.
    """

    data: Data = DataFolder("datasets/coco")
    """What to train on, validate on and test with; `data FOLDER` is a `DataFolder`, whatever format it is in."""
    input: InputSpec = InputSpec()
    """What the network sees of an image; `input.resize 800/1333` or, for a letterbox, `640x640`."""
    train_resize: ResizeShortestEdge | Letterbox | MultiScale | None = None
    """Resizing in training; None: that of the input."""
    augment: tuple[TrainTransform, ...] = (RandomFlip(0.5),)
    """Random changes in training, one after the other."""
    sampling: RepeatFactor | None = None
    """Images that come more often than others: `sampling repeat_factor`; None: each comes once per epoch."""
    model: FCOS | RetinaNet | YOLOX = FCOS(ResNet(50, weights="imagenet"))
    """The family of the network: `model fcos`, `retinanet`, or `yolox_nano` and its siblings."""
    assigner: Assigner | None = OTAAssigner()
    """The rule of label assignment, by its name in `otadet.assigners`; None for a loss that needs none."""
    loss: FocalGIoU | BCEIoU | FreeAnchor = FocalGIoU()
    """`loss focal_giou`, `bce_iou` or `free_anchor`."""
    optimizer: SGD | AdamW = SGD()
    """`optimizer sgd` or `adamw`."""
    schedule: Steps | Cosine = Steps(at=(60_000, 80_000), warmup=1000)
    """Of the learning rate: `schedule steps` or `cosine`."""
    length: Iterations | Epochs = Iterations(90_000)
    """Of the training, such as `length 12epochs` or `length 9000iterations`."""
    postprocess: Postprocess = Postprocess()
    """From predictions to detections."""
    tta: MultiScaleTest = MultiScaleTest()
    """What `--tta` does in an evaluation or a prediction."""
    run: Run = Run()
    """Batches, precision, randomness, and what the training does on its way."""

    @property
    def name(self) -> str:
        """The file's name without its suffix; the default output folder is runs/NAME."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return Path(file).stem if file and type(self) is not BaseExp else type(self).__name__

    @property
    def loss_terms(self) -> tuple[str, ...] | None:
        """The names of what the loss is the sum of; None where a loss of one's own does not say them (`terms`)."""
        return self._terms_of(self.build_loss())

    def _terms_of(self, loss: nn.Module) -> tuple[str, ...] | None:
        terms = getattr(loss, "terms", None)
        if not isinstance(terms, tuple | list):
            return None
        has_quality = getattr(self.model, "quality", "own") is not None
        return tuple(term for term in terms if has_quality or term != "quality")

    def build_model(self, num_classes: int) -> Detector:
        return self.model.build(num_classes)

    def build_assigner(self) -> Assigner | None:
        return self.assigner

    def build_loss(self) -> nn.Module:
        return self.loss.build(self.build_assigner(), getattr(self.model, "quality", None))

    def build_train_transform(self) -> TrainTransform:
        resize = self.input.resize if self.train_resize is None else self.train_resize
        return Compose(tuple(_padded_with(self.input.pad_value, one) for one in (resize, *self.augment)))

    def build_pipeline(self, model: nn.Module, class_names: Sequence[str]) -> Pipeline:
        """`model` with all that makes detections of images; class_names: what its classes mean."""
        return Pipeline(as_detector(model), self.input, self.postprocess, tuple(class_names))

    def build_read_options(self) -> ReadOptions:
        """How the data sets' image files are read. Predictors apply the EXIF orientation whatever this says."""
        return self.data.options(self.input.image_bits)

    def build_train_dataset(self, class_names: Sequence[str] | None = None) -> DetectionDataset:
        """class_names: by label, in place of those of the data."""
        return self.data.train(class_names, self.input.image_bits)

    def build_val_dataset(self, class_names: Sequence[str] | None = None) -> DetectionDataset:
        """class_names: by label, in place of those of the data."""
        return self.data.val(class_names, self.input.image_bits)

    def build_test_dataset(self, class_names: Sequence[str] | None = None) -> DetectionDataset:
        """class_names: by label, in place of those of the data. Raises `UserError` where there is no test set."""
        if not hasattr(self.data, "test"):
            raise UserError(f"data: a {type(self.data).__name__} has no test split")
        return self.data.test(class_names, self.input.image_bits)

    def for_data(self, train_set: DetectionDataset, devices: int) -> tuple[BaseExp, Sequence[str]]:
        """The experiment as it trains on these data, and why, in lines for the log; see `RecipeExp`.

        devices: that the training runs on.
        """
        return self, ()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return self.optimizer.build(model)

    def iterations(self, dataset_size: int) -> int:
        """Length of the training on a data set of this many images."""
        return self.length.iterations(dataset_size, self.run.images_per_step)

    def build_schedule(self, dataset_size: int) -> Callable[[int], float]:
        """Iteration -> factor of the learning rate."""
        return self.schedule.build(Training(dataset_size, self.run.images_per_step, self.iterations(dataset_size)))

    def override(self, pairs: Sequence[str]) -> None:
        """Set fields from `name value name value ...`.

        Raises `UserError` for an unknown name or a wrong value, and where one can have no effect beside the others.
        """
        if len(pairs) % 2:
            raise UserError(incomplete(pairs))
        settings = list(zip(pairs[::2], pairs[1::2], strict=True))
        values, paths = changed(self, settings), paths_set(self, settings)
        for name in values:
            check_heard(self, BaseExp, name)
        for name, value in values.items():
            setattr(self, name, value)
        self.check()
        # What the experiment itself has there may be silenced by what was set: that is then what was asked for.
        for path, message in unheard_settings(self, BaseExp).items():
            if any(f"{path}.".startswith(f"{one}.") or one.startswith(f"{path}.") for one in paths):
                raise UserError(message)

    def check(self) -> None:
        """Raise `UserError` for values that cannot work, alone or together."""
        check_fields(self)
        if getattr(self.postprocess, "score", None) == "product" and getattr(self.model, "quality", "own") is None:
            raise UserError("postprocess.score product: the model has no quality branch (model.quality none)")
        try:
            loss = self.build_loss()
        except UserError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise UserError(f"label assignment: {kind}{error}") from error
        self._check_run(loss)

    def _check_run(self, loss: nn.Module) -> None:
        terms, best_by = self._terms_of(loss), getattr(self.run, "best_by", None)
        columns = () if terms is None else (*SCORES, *training_columns(terms))
        if columns and best_by not in (None, *columns):
            raise UserError(
                f"run.best_by {brief(best_by)}: metrics.csv has no such column; choose one of {', '.join(columns)}"
                f"{did_you_mean(str(best_by), columns)}"
            )
        if getattr(self.run, "accumulate", 1) > 1:
            check_can_be_summed(loss)

    def describe(self) -> dict[str, Any]:
        """Every field and its value as plain data: `{"model": {"part": "FCOS", ...}, ...}`."""
        return {name: to_plain(getattr(self, name)) for name in fields_of(self)}

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of the experiment beside its parts: its name, and the methods of its own."""
        return {"name": self.name, "methods": own_methods(self, BaseExp)}


def _padded_with(color: tuple[int, int, int], transform: Any) -> Any:
    """`transform` with `color` for its padding, and that of the transforms inside it, wherever they name no colour."""
    if is_part(inner := getattr(transform, "transform", None)):
        return replace(transform, transform=_padded_with(color, inner))
    for name in ("transforms", "resizes"):
        if is_part(transform) and isinstance(several := getattr(transform, name, None), tuple):
            return replace(transform, **{name: tuple(_padded_with(color, one) for one in several)})
    return replace(transform, pad_value=color) if getattr(transform, "pad_value", color) is None else transform
