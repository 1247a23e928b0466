import pytest

from otadet.errors import UserError
from otadet.optim.length import Epochs, Iterations, Training, iterations_for
from otadet.optim.schedule import Cosine, CosineSchedule, Steps, StepSchedule


def test_steps_drop_at_the_step_itself():
    schedule = StepSchedule(steps=(4, 6), gamma=0.1)
    assert [schedule(iteration) for iteration in range(8)] == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)


def test_warm_up_is_linear_and_ends_at_one():
    schedule = StepSchedule(warmup=4, warmup_start=0.2)
    assert [schedule(iteration) for iteration in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_cosine_starts_after_the_warm_up_and_reaches_final():
    schedule = CosineSchedule(iterations=104, warmup=4, final=0.1)
    assert schedule(0) == pytest.approx(0.001)
    assert schedule(4) == 1
    assert schedule(54) == pytest.approx(0.55)
    assert schedule(104) == pytest.approx(0.1)
    assert all(schedule(i) >= schedule(i + 1) for i in range(4, 104))


@pytest.mark.parametrize("schedule", [StepSchedule((), warmup=10), CosineSchedule(5, warmup=10)])
def test_warm_up_longer_than_the_training_is_no_error(schedule):
    rates = [schedule(iteration) for iteration in range(5)]
    assert rates == sorted(rates)
    assert rates[0] > 0


def test_two_steps_at_one_iteration_both_drop():
    assert StepSchedule(steps=(4, 4), gamma=0.1)(4) == pytest.approx(0.01)


@pytest.mark.parametrize("steps", [(6, 4), (0, 4)])
def test_steps_that_make_no_sense_are_named(steps):
    with pytest.raises(UserError, match="steps"):
        StepSchedule(steps)


def test_a_schedule_says_what_it_does():
    assert str(StepSchedule((60, 80), warmup=10)) == "x0.1 at iterations 60, 80, after a warm-up of 10"
    assert str(CosineSchedule(90)) == "cosine to 0 over 90 iterations"


def test_epochs_become_whole_iterations():
    assert iterations_for(12, 117_266, 16) == 87_950
    assert iterations_for(1, 3, 16) == 1
    assert iterations_for(0.5, 100, 10) == 5


@pytest.mark.parametrize(
    ("length", "at", "steps"),
    [
        (Iterations(90), (60, 80), (60, 80)),
        (Iterations(90), (2 / 3, 8 / 9), (60, 80)),
        (Epochs(12), (Epochs(8), Epochs(11)), (40, 55)),
        (Epochs(12), (0.5, Epochs(11)), (30, 55)),
        (Iterations(3), (0.01, 0.9), (1, 3)),
    ],
)
def test_places_are_shares_iterations_or_epochs(length, at, steps):
    training = Training(images=40, batch_size=8, iterations=length.iterations(40, 8))
    assert Steps(at, warmup=0).build(training) == StepSchedule(steps)


def test_a_recipe_fits_any_data():
    """The same shares of 40 images and of COCO: what drops, and when the warm-up is over."""
    for images in (40, 117_266):
        training = Training(images, 16, Epochs(12).iterations(images, 16))
        for part in (Steps(at=(0.75, 0.9), warmup=0.1), Cosine(warmup=0.1)):
            schedule = part.build(training)
            assert schedule(round(0.05 * training.iterations)) < 1
            assert schedule(round(0.1 * training.iterations)) == pytest.approx(1, abs=1e-3)
            assert schedule(round(0.95 * training.iterations)) < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Steps(at=(0, 5)), "^Steps: at 0: must be above 0"),
        (lambda: Steps(at=(5, 3)), "^Steps: at 5, 3: must be ascending"),
        (lambda: Steps(at=(0.9, 0.5)), "ascending"),
        (lambda: Steps(at=(Epochs(9), Epochs(8))), "^Steps: at 9epochs, 8epochs: must be ascending"),
        (lambda: Steps(at=(1.5,)), r"^Steps: at 1.5: is neither a share .* written as Epochs\(1.5\)"),
        (lambda: Steps(at=(float("nan"),)), "^Steps: at .*finite"),
        (lambda: Cosine(warmup=-1), "^Cosine: warmup -1: must be at least 0"),
        (lambda: Cosine(final=2), "^Cosine: final 2: must be at least 0 and at most 1"),
        (lambda: Steps(at=8), "^Steps: at = 8: expected a list"),
        (lambda: Iterations(0), "^Iterations: count 0: must be above 0"),
        (lambda: Iterations(1.5), "^Iterations: count = 1.5: expected a whole number"),
        (lambda: Epochs(float("inf")), "^Epochs: count inf: must be finite"),
    ],
)
def test_places_and_lengths_that_make_no_sense_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_places_that_ascend_in_the_file_but_not_in_the_training_are_named():
    with pytest.raises(UserError, match=r"schedule.at 60, 0.5: are iterations 60, 50 here; must be ascending"):
        Steps(at=(60, 0.5)).build(Training(40, 8, 100))


@pytest.mark.parametrize(("text", "length"), [("9000iterations", Iterations(9000)), ("1iteration", Iterations(1))])
def test_lengths_in_iterations_by_their_text(text, length):
    assert Iterations.from_text(text) == length


@pytest.mark.parametrize(
    ("text", "length"), [("12epochs", Epochs(12)), ("2.5 Epochs", Epochs(2.5)), ("1epoch", Epochs(1))]
)
def test_lengths_in_epochs_by_their_text(text, length):
    assert Epochs.from_text(text) == length
    assert Epochs.from_text(str(length)) == length
