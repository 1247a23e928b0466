"""A training with every transform, each ending on its way: resumed it is the same, and its checkpoint is enough."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from otadet.apps.compose import build_datasets, build_trainer
from otadet.apps.validation import Validation
from otadet.data.transforms import (
    CopyPaste,
    Letterbox,
    MixUp,
    Mosaic,
    MultiScale,
    PhotometricDistortion,
    RandomAffine,
    RandomFlip,
    RandomHSV,
    RandomIoUCrop,
    Until,
)
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.exp import BaseExp, RepeatFactor, load_exp
from otadet.exp.stored import stored_exp
from tests.helpers.tiny_experiment import write_tiny_experiment

AUGMENT = (
    Until(0.3, Mosaic(p=0.8)),
    Until(0.45, MixUp(p=0.5)),
    Until(0.6, CopyPaste(most=2)),
    Until(0.7, RandomAffine(degrees=5)),
    Until(0.5, RandomIoUCrop()),
    Until(0.8, RandomHSV()),
    Until(0.8, PhotometricDistortion()),
    RandomFlip(),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_experiment(tmp_path_factory.mktemp("tiny"))


def experiment(tiny) -> BaseExp:
    exp = load_exp(tiny.file)
    exp.augment = AUGMENT
    exp.train_resize = MultiScale((Letterbox((32, 32)), Letterbox((64, 64))))
    exp.sampling = RepeatFactor(0.9)
    exp.override(["length", "8iterations", "run.save_every", "1", "run.eval_every", "0"])
    return exp


def trainer_of(tiny, folder):
    exp = experiment(tiny)
    train_set, val_set = build_datasets(exp)
    torch.manual_seed(0)
    return build_trainer(exp, exp.build_model(2), train_set, Validation(exp, val_set), torch.device("cpu"), folder)


def test_a_training_that_died_goes_on_as_if_it_had_not(tiny, tmp_path):
    whole = trainer_of(tiny, tmp_path / "whole")
    whole.train()
    died = trainer_of(tiny, tmp_path / "died")
    batches = died.loader

    def until_the_fourth(start):
        yield from islice(batches(start), 4)
        raise UserError("gone")

    died.loader = until_the_fourth
    with pytest.raises(UserError, match="gone"):
        died.train()
    rest = trainer_of(tiny, tmp_path / "died")
    rest.resume(rest.last_checkpoint)
    assert rest.iteration == 4
    rest.train()
    expected, found = (load_checkpoint(each.last_checkpoint)["model"] for each in (whole, rest))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_its_checkpoint_describes_it(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path)
    trainer.train()
    described = stored_exp(
        "last.pth", load_checkpoint(trainer.last_checkpoint), ["augment", "train_resize", "sampling"]
    )
    exp = experiment(tiny)
    assert (described.augment, described.train_resize, described.sampling) == (
        exp.augment,
        exp.train_resize,
        exp.sampling,
    )


def test_settings_of_a_command(tiny):
    exp = experiment(tiny)
    exp.override(["augment.0.transform.p", "0.5", "augment.3.share", "0.9", "augment.3.transform.hidden", "ignore"])
    exp.override(["train_resize", "48x64,96x128", "sampling", "repeat_factor", "sampling.threshold", "0.02"])
    assert exp.augment[0] == Until(0.3, Mosaic(p=0.5))
    assert exp.augment[3] == Until(0.9, RandomAffine(degrees=5, hidden="ignore"))
    assert exp.train_resize == MultiScale((Letterbox((48, 64)), Letterbox((96, 128))))
    assert exp.sampling == RepeatFactor(0.02)
    exp.override(["sampling", "none", "train_resize", "32,48/64", "augment", "none"])
    assert (exp.sampling, exp.augment) == (None, ())
    with pytest.raises(UserError, match=r"augment\.0\.transform has no such field.*did you mean 'scale'"):
        experiment(tiny).override(["augment.0.transform.scales", "1,2"])
    with pytest.raises(UserError, match="choose repeat_factor"):
        exp.override(["sampling", "rare"])


def test_the_padding_of_every_transform_is_that_of_the_input(tiny):
    exp = experiment(tiny)
    exp.override(["input.padding", "1,2,3"])
    text = repr(exp.build_train_transform())
    assert text.count("pad_value=(1, 2, 3)") == 6
    assert "pad_value=None" not in text
