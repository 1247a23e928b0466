import torch
from torch import nn

from otadet.optim.ema import ModelEma


def constant(value: float) -> nn.Module:
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, value)
    return layer


def test_the_first_updates_follow_quickly_the_later_ones_slowly():
    ema = ModelEma(constant(0), decay=0.99)
    ema.update(constant(1), iteration=0)
    assert torch.allclose(ema.model.weight, torch.full((1, 2), 0.9))  # decay (1 + 0) / (10 + 0)
    ema.update(constant(0), iteration=10**6)
    assert torch.allclose(ema.model.weight, torch.full((1, 2), 0.9 * 0.99))


def test_buffers_follow_and_counters_are_copied():
    model = nn.BatchNorm1d(2)
    ema = ModelEma(model, decay=0.5)
    model(torch.full((4, 2), 8.0) + torch.arange(4.0)[:, None])
    ema.update(model, iteration=10**6)
    assert torch.allclose(ema.model.running_mean, model.running_mean / 2)
    assert ema.model.num_batches_tracked == 1


def test_the_average_is_apart_from_the_model():
    model = constant(1)
    ema = ModelEma(model, decay=0.5)
    with torch.no_grad():
        model.weight.zero_()
    assert ema.model.weight.sum() == 2
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert not ema.model.training
