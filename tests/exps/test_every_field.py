"""Nothing is accepted and ignored: every field of every shipped experiment changes what is composed, or is an error."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from otadet.apps import batches, compose, train, training, validation
from otadet.data.dataset import DetectionDataset
from otadet.data.formats.layout import Layout
from otadet.data.image_files import ImageFiles
from otadet.data.images import DEFAULT
from otadet.data.splits import Split
from otadet.data.transforms import RandomFlip
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.exp.data import base, coco, folder, synthetic
from otadet.exp.fields import Field, all_fields
from otadet.exp.words import WORDS
from otadet.inference.tta import MultiScalePipeline
from otadet.values import choices_of, options_of
from tests.helpers.small_networks import DEPTH, SMALL, small_network

EXPS = Path(__file__).parents[2] / "exps"
FILES = sorted(EXPS.rglob("*.py"))
VALUES = {
    "model": "retinanet",
    "model.backbone": "resnet18",
    "model.backbone.weights": "imagenet",
    "model.backbone.deformable_stages": "2,3",
    "data.class_names": "a,b,c",
    "data.num_classes": "2",
    "input.resize": "96x96",
    "train_resize": "96,128/160",
    "input.padding": "1,2,3",
    "augment": "none",
    "schedule.at": "0.2,0.6",
    "length": "123iterations",
    "run.freeze": "backbone",
    "run.best_by": "loss",
    "assigner.ranges": "0,64",
    "tta.scales": "64,96",
    "tta.object_sizes": ",".join(["1-", *["0-"] * 12]),
}
"""Path -> another valid value, where the field's type does not say one."""


def others(field: Field) -> list[str]:
    """Texts for other values of the field, as `override` takes them; none where it is a part without words."""
    if choices := [choice for choice in choices_of(field.hint) if choice != field.value and choice is not None]:
        return [str(choice) for choice in choices]
    return [text for text in [another(field)] if text is not None]


def another(field: Field) -> str | None:
    if field.path in VALUES:
        return VALUES[field.path]
    if field.name in WORDS:
        return next(word for word, make in WORDS[field.name].items() if make() != field.value)
    options, value = options_of(field.hint), field.value
    if bool in options:
        return str(not value).lower()
    if isinstance(value, tuple) and value and isinstance(value[0], int | float):
        return ",".join(str((item / 2 or 0.5) if isinstance(item, float) else item // 2 + 3) for item in value)
    if float in options:
        return str(0.3 if value is None else value / 2 if value else 0.25)
    if int in options:
        return str(7 if value is None else value + 1 if value < 16 else value // 2)
    return "elsewhere" if str in options else None


class Recorder:
    """What stands in for data, loaders and processes: remembers the arguments that it is called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        for module, names in (
            (base, ("DetectionDataset", "read_split")),
            (folder, ("find_data",)),
            (synthetic, ("write_synthetic",)),
            (batches, ("train_loader",)),
            (compose, ("choose_precision",)),
            (validation, ("evaluate",)),
        ):
            for name in names:
                monkeypatch.setattr(module, name, self.stand_in(name, getattr(module, name)))

    def stand_in(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            shown = {key: value for key, value in kwargs.items() if not callable(value) or key == "transform"}
            self.calls.append((name, f"{[arg for arg in args if is_value(arg)]} {shown}"))
            if name == "DetectionDataset":
                return Three(kwargs)
            if name == "read_split":
                return Split(None, ())
            if name == "find_data":
                return Layout("COCO", "a stand-in", {})
            return real(*args, **kwargs) if name == "choose_precision" else None

        return call


def pretrained(name: str) -> dict[str, torch.Tensor]:
    return torchvision.models.get_model(name).state_dict()


def is_value(value: object) -> bool:
    return not isinstance(value, torch.nn.Module | DetectionDataset | Three)


class Three:
    """A data set of 96 images and 3 classes."""

    source = "three"

    def __init__(self, options: dict[str, Any]) -> None:
        self.class_names = tuple(options["class_names"] or ("a", "b", "c"))
        self.annotations = SimpleNamespace(protocol="coco")
        self.calls: list[str] = []
        names = [f"{number}.jpg" for number in range(96)]
        self.images = ImageFiles.whole(Path("images"), names, np.full((96, 2), 10), DEFAULT)

    def __len__(self) -> int:
        return 96

    def reduced_for(self, transform: Any) -> Three:
        self.calls.append(f"reduced for {transform}")
        return self

    def cached(self, cache: Any) -> Three:
        self.calls.append(f"cached {type(cache).__name__}")
        return self


def composed(exp: BaseExp, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """All that the experiment composes, as text; the network only where `part` has a say in it."""
    made: list[str] = [exp.name]
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(coco.os.path, "isdir", lambda path: True)
        patch.setattr("otadet.models.backbones.resnet._download_imagenet", pretrained)
        recorder = Recorder(patch)
        dataset = exp.build_train_dataset()
        exp.build_val_dataset()
        model: torch.nn.Module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4))
        if part == "model":
            torch.manual_seed(0)
            model = exp.build_model(3)
            made += [f"{name} {value.shape} {value.float().sum():.6g}" for name, value in model.state_dict().items()]
            made += [f"{name} {value.requires_grad}" for name, value in model.named_parameters()]
            grid = model.anchor_grid
            made += [
                repr([grid.offset, grid.whole_pixels, grid.half_sides, getattr(model.head, "delta_weights", None)])
            ]
            made += [repr(model)]
        model.strides, model.size_divisor = (8,), 32
        pipeline = exp.build_pipeline(model, dataset.class_names)
        made += [f"{pipeline.input} {pipeline.postprocess}"]
        views = MultiScalePipeline.of(pipeline, exp.tta)
        made += [f"{[f'{view.input} {view.object_sizes}' for view in views.views]} {views.flip}"]
        trainer = training.build_trainer(exp, model, dataset, None, torch.device("cpu"), tmp_path)
        trainer.loader(0)
        validation.Validation(exp, dataset)(model)
        made += [repr(trainer.settings), step_of(trainer), repr(trainer.step.optimizer), repr(vars(trainer.step.loss))]
        made += [repr(exp.build_train_transform()), trainer_rates(trainer)]
        made += [f"{name} {arguments}" for name, arguments in recorder.calls]
        made += [f"images {dataset.calls}"]
        made += [best_of(exp), timeout_of(exp, patch)]
    return made


def step_of(trainer: Any) -> str:
    """What of the precision, the averages and the clipping the step was made with."""
    step = trainer.step
    return repr([step.amp_dtype, step.ema and step.ema.decay, {k: v for k, v in vars(step).items() if "clip" in k}])


def trainer_rates(trainer: Any) -> str:
    length = trainer.settings.iterations
    places = [*range(0, 1200, 50), *np.linspace(0, length, 40)]
    return repr([trainer.step.schedule(int(place)) for place in places])


def best_of(exp: BaseExp) -> str:
    return f"seed {exp.run.seed} best by {exp.run.best_by} auto {exp.run.auto_batch}"


def timeout_of(exp: BaseExp, patch: pytest.MonkeyPatch) -> str:
    """What the app hands to `launch`."""
    given: dict[str, Any] = {}
    patch.setattr(train, "configured", lambda args, read: exp)
    patch.setattr("otadet.engine.launch.launch", lambda *args, **kwargs: given.update(kwargs))
    train.main(["--device", "cpu"])
    return repr(given)


@cache
def executed(file: Path) -> BaseExp:
    """The small experiment of a file, which is executed once; its parts never change, only its fields."""
    exp = load_exp(file)
    exp.override(small_network(exp))
    return exp


def loaded(file: Path) -> BaseExp:
    return copy(executed(file))


def has_a_say(
    file: Path, field: Field, text: str, before: dict[bool, list[str]], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> bool:
    """Whether the setting is an error, or composes something else."""
    exp, is_model = loaded(file), field.path.startswith("model")
    try:
        # A word stands for a model as large as the paper's; what is small stays so.
        exp.override([*([*SMALL, *DEPTH] if field.path == "model" else []), field.path, text])
        return composed(exp, "model" if is_model else "", monkeypatch, folder) != before[is_model]
    except UserError:
        return True


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_field_has_a_say(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before: dict[bool, list[str]] = {
        is_model: composed(loaded(file), "model" if is_model else "", monkeypatch, tmp_path)
        for is_model in (True, False)
    }
    walked, ignored = 0, []
    for field in all_fields(loaded(file)):
        texts = others(field)
        walked += bool(texts)
        if texts and not any(has_a_say(file, field, text, before, monkeypatch, tmp_path) for text in texts):
            ignored.append(field.path)
    assert walked > 60
    assert ignored == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_unknown_field_of_any_part_names_the_nearest(file: Path) -> None:
    fields = all_fields(loaded(file))
    paths = {field.path for field in fields}
    for field in fields:
        if field.path.endswith(tuple("0123456789")):
            continue
        misspelt = field.path[:-1] + ("x" if len(field.name) < 3 else "")
        if misspelt in paths or "." not in misspelt:
            continue
        with pytest.raises(UserError, match=rf"no such field.*{field.name}") as caught:
            loaded(file).override([misspelt, "1"])
        if len(field.name) > 3:
            assert f"did you mean '{field.name}'" in str(caught.value), misspelt


def test_a_field_that_nothing_reads_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The walk would notice: here a method of the file takes a part's place and does not look at it."""

    class Deaf(BaseExp):
        def build_train_transform(self) -> Any:
            return self.input.resize

    exp, other = Deaf(), Deaf()
    for each in (exp, other):
        each.override(small_network(each))
    other.augment = (RandomFlip(0.1),)
    one, two = (composed(each, "", monkeypatch, tmp_path) for each in (exp, other))
    assert one == two
