import pytest

from otadet.errors import UserError
from otadet.optim.schedule import CosineSchedule, StepSchedule, iterations_for


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
