"""The base of every experiment file, and how such a file is loaded.

An experiment is a Python file with a class `Exp(BaseExp)`: fields for numbers, methods that compose objects. The
defaults are the paper's main row: FCOS-R50-FPN with OTA, 1x on COCO 2017.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from otadet.assigners import Assigner, OTAAssigner, named_assigner
from otadet.data.coco import CocoDataset
from otadet.data.dataset import DetectionDataset
from otadet.data.images import ReadOptions
from otadet.data.sample import TrainTransform, Transform
from otadet.data.transforms import Compose, Letterbox, RandomFlip, ResizeShortestEdge
from otadet.errors import UserError, nearest_name
from otadet.exp.fields import as_plain, check_value, fields_of, parse_field, undeclared_attributes, without_numpy
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import RANK_BY, SCORE_KINDS, Postprocess
from otadet.limits import FIELD_LIMITS, brief, check_limits
from otadet.losses.detection import BOX_WEIGHTINGS, DetectionLoss, centerness_target, iou_target
from otadet.models import FPN, Detector, FCOSHead, build_resnet
from otadet.models.detector import as_detector
from otadet.models.necks.fpn import COARSE_FROM
from otadet.names import clean_class_names
from otadet.optim.optimizer import WEIGHT_DECAY_ON, build_optimizer
from otadet.optim.schedule import CosineSchedule, StepSchedule, iterations_for
from otadet.user_modules import impatient, load_module, place_of

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
"""Of COCO's twelve numbers those that are logged during training."""


_REPLACED = {"build_test_transform": "build_input", "build_normalize": "build_input"}
"""Methods that experiment files used to override, and those that took their place."""


class BaseExp:
    """FCOS-R50-FPN with OTA, 1x on COCO 2017. Every annotated field can be set as `name value` on the command line."""

    # Data: a folder in COCO's layout; paths below are relative to it.
    data_dir: str = "datasets/coco"
    train_json: str = "annotations/instances_train2017.json"
    train_images: str = "train2017"
    val_json: str = "annotations/instances_val2017.json"
    val_images: str = "val2017"
    class_names: tuple[str, ...] | None = None  # None: those of the data
    num_classes: int | None = None  # None: as many as the data has; otherwise checked against it
    unreadable: str = "fail"  # or "skip": what becomes of images that cannot be read
    prescan: bool = True  # look at every image file before the start
    outside_images: bool = False  # file names of the annotations may be absolute, or lead out of the image folder
    workers: int = 4  # loader processes a device
    max_pixels: int = 2**28  # an image file with more is refused: 0.8 GB as RGB
    exif_orientation: bool = False  # turn pictures as EXIF says; the annotations must be for the upright ones then
    image_bits: int = 16  # bits that the values of 16-bit files use: 12 for those of a 12-bit sensor

    # Input.
    train_sizes: tuple[int, ...] = (800,)  # shortest edge, one of them drawn for each image
    test_size: int = 800
    max_size: int = 1333
    letterbox: tuple[int, int] | None = None  # (height, width): every image fitted into this size instead
    flip: float = 0.5
    group_by_aspect: bool = True  # a device's batch is all wide or all tall images, so that less of it is padding
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    # Network.
    depth: int = 50  # ResNet-10, 18, 34, 50 or 101
    width: int = 64  # channels of the ResNet's stem and first stage; others than 64 only without weights
    weights: str | None = "imagenet"  # or a file; None trains from scratch
    channels: int = 256
    tower_depth: int = 4
    prior_probability: float = 0.01
    quality: str | None = "iou"  # what the auxiliary branch predicts; or "centerness", or None: no branch
    coarse_from: str = "p5"  # what P6 is made from; or "c5", as in RetinaNet
    anchor_offset: float = 0.0  # of the points from the corners of their cells, in strides; 0.5: in the middle

    # Label assignment: the name of a rule, in place of what build_assigner composes.
    assigner: str | None = None

    # Loss.
    box_weight: float = 2.0
    box_weighting: str = "auto"  # "quality": boxes count by the target of their quality, if any; "none": all alike;
    # "auto": "quality" for centerness, as in FCOS and ATSS, else "none"
    quality_weight: float | None = None  # None: 1 for centerness, as in FCOS and ATSS, else 0.5

    # Optimisation.
    batch_size: int = 16  # over all devices
    optimizer: str = "sgd"  # or "adamw"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    weight_decay_on: str = "no_norms"  # or "all", or "weights": neither norms nor biases nor learned scales
    schedule: str = "steps"  # or "cosine"
    steps: tuple[float, ...] = (60_000, 80_000)  # in iterations, or in epochs where max_epochs is set
    warmup_iterations: int = 1000
    max_iterations: int = 90_000
    max_epochs: float | None = None  # replaces max_iterations
    grad_clip: float | None = None  # largest norm of the gradient
    ema: float | None = None  # decay of the averaged weights
    amp: bool = False  # mixed precision where the hardware gains by it; elsewhere fp32
    amp_dtype: str | None = None  # with amp, "fp16" or "bf16" in any case; None: what the device is best at
    seed: int = 0

    # Progress.
    eval_every: float = 1.0  # epochs; 0 evaluates at the end only
    log_every: int = 20  # iterations
    save_every: int = 1000  # iterations between two last.pth, beside those at evaluations and at the end
    best_by: str = "AP"  # the score that decides which checkpoint is best.pth, such as AP50 or AR100
    process_timeout: float = 300.0  # seconds without a sign of life after which a process of torchrun's counts as gone

    # Inference.
    score_threshold: float = 0.05
    topk_per_level: int = 1000
    nms_iou: float = 0.6
    max_detections: int = 100
    score: str = "geometric_mean"  # of class and quality; or their "product", as in YOLOX
    rank_by: str = "score"  # what score_threshold and topk_per_level look at; or "class", without the quality

    @property
    def name(self) -> str:
        """The file's name without its suffix; the default output folder is runs/NAME."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return Path(file).stem if file else type(self).__name__

    # What the experiment is made of.

    def build_model(self, num_classes: int) -> Detector:
        backbone = build_resnet(self.depth, self.weights, self.width)
        neck = FPN(backbone.channels, backbone.strides, self.channels, self.coarse_from)
        head = self.build_head(num_classes, len(neck.strides))
        return Detector(backbone, neck, head, anchor_offset=self.anchor_offset)

    def build_head(self, num_classes: int, levels: int) -> nn.Module:
        return FCOSHead(
            num_classes,
            self.channels,
            self.tower_depth,
            levels=levels,
            prior_probability=self.prior_probability,
            quality=self.quality is not None,
        )

    def build_assigner(self) -> Assigner:
        return OTAAssigner()

    def choose_assigner(self) -> Assigner:
        """The rule that the field `assigner` names, else what `build_assigner` composes."""
        return named_assigner(self.assigner) if self.assigner else self.build_assigner()

    def build_loss(self) -> nn.Module:
        is_centerness = self.quality == "centerness"
        is_weighted = is_centerness if self.box_weighting == "auto" else self.box_weighting == "quality"
        quality_weight = self.quality_weight
        if quality_weight is None:
            quality_weight = 1.0 if is_centerness else 0.5
        return DetectionLoss(
            self.choose_assigner(),
            box_weight=self.box_weight,
            quality_weight=quality_weight,
            quality_target=centerness_target if is_centerness else iou_target,
            # The released PAA without its branch has no weights either.
            box_weighting="quality" if is_weighted and self.quality is not None else "none",
        )

    def build_train_transform(self) -> TrainTransform:
        resize: Transform = ResizeShortestEdge(self.train_sizes, self.max_size)
        if self.letterbox is not None:
            resize = self.build_input().transform
        return Compose((resize, RandomFlip(self.flip)))

    def build_input(self) -> InputSpec:
        """What the network sees of an image, outside of augmentation."""
        if self.letterbox is None:
            resize: ResizeShortestEdge | Letterbox = ResizeShortestEdge((self.test_size,), self.max_size)
        else:
            height, width = self.letterbox
            resize = Letterbox((height, width))
        # A file may have written lists.
        (red, green, blue), (red_std, green_std, blue_std) = self.mean, self.std
        return InputSpec(resize, (red, green, blue), (red_std, green_std, blue_std), image_bits=self.image_bits)

    def build_pipeline(self, model: nn.Module, class_names: Sequence[str]) -> Pipeline:
        """`model` with all that makes detections of images; class_names: what its classes mean."""
        return Pipeline(as_detector(model), self.build_input(), self.build_postprocess(), tuple(class_names))

    def build_train_dataset(self) -> DetectionDataset:
        return self._build_dataset(self.train_json, self.train_images)

    def build_val_dataset(self) -> DetectionDataset:
        return self._build_dataset(self.val_json, self.val_images)

    def build_read_options(self) -> ReadOptions:
        """How the data sets' image files are read. Predictors apply the EXIF orientation whatever this says."""
        return ReadOptions(self.max_pixels, self.exif_orientation, self.image_bits)

    def build_postprocess(self) -> Postprocess:
        return Postprocess(
            self.score_threshold, self.topk_per_level, self.nms_iou, self.max_detections, self.rank_by, self.score
        )

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(
            model,
            self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            weight_decay_on=self.weight_decay_on,
        )

    def iterations(self, dataset_size: int) -> int:
        """Length of the training on a data set of this many images."""
        if self.max_epochs is None:
            return self.max_iterations
        return iterations_for(self.max_epochs, dataset_size, self.batch_size)

    def build_schedule(self, dataset_size: int) -> Callable[[int], float]:
        """Iteration -> factor of the learning rate."""
        if self.schedule == "cosine":
            return CosineSchedule(self.iterations(dataset_size), warmup=self.warmup_iterations)
        if self.max_epochs is None:
            steps = [int(step) for step in self.steps]
        else:
            steps = [iterations_for(epoch, dataset_size, self.batch_size) for epoch in self.steps]
        return StepSchedule(tuple(steps), warmup=self.warmup_iterations)

    def _build_dataset(self, json_path: str, image_dir: str) -> DetectionDataset:
        folder = Path(self.data_dir)
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: no such folder; set the field data_dir (data_dir FOLDER on the command line)")
        dataset = CocoDataset(
            folder / json_path,
            folder / image_dir,
            class_names=self.class_names,
            unreadable=self.unreadable,
            prescan=self.prescan,
            options=self.build_read_options(),
            outside_images=self.outside_images,
        )
        if self.num_classes not in (None, len(dataset.class_names)):
            raise UserError(
                f"{folder / json_path}: has {len(dataset.class_names)} classes ({', '.join(dataset.class_names)}), "
                f"but num_classes is {self.num_classes}; leave num_classes unset to take those of the data"
            )
        return dataset

    # Fields.

    def override(self, pairs: Sequence[str]) -> None:
        """Set fields from `name value name value ...`. Raises `UserError` for an unknown name or a wrong value."""
        if len(pairs) % 2:
            raise UserError(f"{' '.join(pairs)}: overrides come as pairs, name value; the last one is incomplete")
        fields = fields_of(self)
        for name, text in zip(pairs[::2], pairs[1::2], strict=True):
            if name not in fields:
                raise UserError(f"{name}: the experiment has no such field{nearest_name(name, fields)}")
            setattr(self, name, parse_field(name, text, fields[name]))
        self.check()

    def check(self) -> None:
        """Raise `UserError` for values that cannot work. numpy's numbers become Python's, for the checkpoints."""
        for name, hint in fields_of(self).items():
            value = without_numpy(getattr(self, name))
            if value is not getattr(self, name):
                setattr(self, name, value)
            check_value(name, value, hint)
            if name in FIELD_LIMITS:
                check_limits(name, value, FIELD_LIMITS[name])
        if self.class_names is not None:
            self.class_names = clean_class_names(self.class_names, "class_names")
        self._check_choices()
        self._check_combinations()
        self.build_input()
        try:
            self.choose_assigner()
        except UserError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise UserError(f"label assignment: {kind}{error}") from error

    def _check_choices(self) -> None:
        choices = {
            "unreadable": ("fail", "skip"),
            "optimizer": ("sgd", "adamw"),
            "schedule": ("steps", "cosine"),
            "quality": ("iou", "centerness", None),
            "coarse_from": COARSE_FROM,
            "box_weighting": ("auto", *BOX_WEIGHTINGS),
            "weight_decay_on": WEIGHT_DECAY_ON,
            "rank_by": RANK_BY,
            "score": SCORE_KINDS,
            "amp_dtype": (None, "fp16", "bf16"),
            "best_by": SCORES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} {brief(getattr(self, name))}: choose {' or '.join(map(str, known))}")

    def _check_combinations(self) -> None:
        if not self.train_sizes:
            raise UserError("train_sizes: needs at least one size, such as 800")
        if self.channels % 2:
            raise UserError(f"channels {self.channels}: must be even, for GroupNorm")
        if max(self.std) <= 1 and max(self.mean) <= 1:
            raise UserError(
                f"mean {self.mean}, std {self.std}: are on a scale of 0-1, but pixels here are 0-255; multiply by 255"
            )
        if list(self.steps) != sorted(self.steps):
            raise UserError(f"steps {self.steps}: must be ascending")
        if self.max_epochs is None and any(step != int(step) for step in self.steps):
            raise UserError(f"steps {self.steps}: are iterations, whole numbers, where max_epochs is not set")

    def describe(self) -> dict[str, Any]:
        """Every field and its value, plain Python, as it goes into a checkpoint."""
        return {name: as_plain(getattr(self, name)) for name in fields_of(self)}


def load_exp(path: str | Path) -> BaseExp:
    """The `Exp` of an experiment file. Raises `UserError` for a file that is missing, fails, or holds none."""
    path = Path(path)
    module = load_module(path)
    try:
        with impatient(path):
            experiment = module.Exp() if hasattr(module, "Exp") else None
        if not isinstance(experiment, BaseExp):
            raise UserError("has no class Exp(BaseExp); see exps/quickstart.py for the shape of such a file")
        for name, instead in _REPLACED.items():
            if hasattr(experiment, name):
                raise UserError(f"{name}: nothing calls this any more; write {instead} instead")
        for name in undeclared_attributes(experiment):
            raise UserError(
                f"{name}: the experiment has no such field{nearest_name(name, fields_of(experiment))}"
                f" (a new field is declared with its type, as in `{name}: int = 1`)"
            )
        experiment.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{path}{place_of(error, path)}: Exp() fails: {type(error).__name__}: {error}") from error
    return experiment
