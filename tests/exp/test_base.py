"""Experiment files: what loads, what is overridden, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from otadet.assigners import OTAAssigner, SimOTAAssigner
from otadet.data.transforms import Letterbox
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Postprocess

HEADER = "from otadet.exp import BaseExp\nfrom otadet.assigners import OTAAssigner\nclass Exp(BaseExp):\n"


def write(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEADER + body, encoding="utf-8")
    return path


def test_the_defaults_are_the_papers() -> None:
    exp = BaseExp()
    assert exp.choose_assigner() == OTAAssigner(radius=2.5, top_q=20, iou_weight=1.5, eps=0.1, iterations=50)
    assert (exp.depth, exp.weights, exp.lr, exp.momentum, exp.weight_decay) == (50, "imagenet", 0.01, 0.9, 1e-4)
    assert (exp.max_iterations, exp.steps, exp.warmup_iterations) == (90_000, (60_000, 80_000), 1000)
    assert (exp.batch_size, exp.train_sizes, exp.max_size) == (16, (800,), 1333)
    assert (exp.coarse_from, exp.anchor_offset, exp.weight_decay_on, exp.rank_by) == ("p5", 0.0, "no_norms", "score")


def test_overrides_have_the_type_of_their_field(tmp_path: Path) -> None:
    exp = load_exp(write(tmp_path, "    colour: str = 'red'\n    lr = 1\n"))
    pairs = "lr 0.02 batch_size 4 amp true weights none max_epochs 2.5 steps 1,2 letterbox 320,480 class_names a,b"
    exp.override([*pairs.split(), "colour", "deep blue", "data_dir", "a folder/é"])
    assert (exp.lr, exp.batch_size, exp.amp, exp.weights, exp.max_epochs) == (0.02, 4, True, None, 2.5)
    assert (exp.steps, exp.letterbox, exp.class_names) == ((1.0, 2.0), (320, 480), ("a", "b"))
    assert (exp.colour, exp.data_dir) == ("deep blue", "a folder/é")


def test_one_word_switches_the_assigner(tmp_path: Path) -> None:
    path = write(tmp_path, "    def build_assigner(self):\n        return OTAAssigner(radius=1.5)\n")
    exp = load_exp(path)
    assert exp.build_loss().assigner == OTAAssigner(radius=1.5)
    exp.override(["assigner", "simota"])
    assert exp.build_loss().assigner == SimOTAAssigner()
    assert load_exp(write(tmp_path, "    assigner = 'simota'\n")).build_loss().assigner == SimOTAAssigner()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["bach_size", "4"], "did you mean 'batch_size'"),
        (["batch_size", "4.5"], "expected a whole number"),
        (["batch_size", "0"], "above 0"),
        (["lr", "fast"], "expected a number"),
        (["amp", "perhaps"], "true or false"),
        (["letterbox", "320"], "2 values"),
        (["lr"], "pairs"),
        (["assigner", "simotta"], "did you mean 'simota'"),
        (["optimizer", "adam"], "sgd or adamw"),
        (["coarse_from", "p4"], "choose p5 or c5"),
        (["weight_decay_on", "norms"], "choose all or no_norms or weights"),
        (["rank_by", "iou"], "choose score or class"),
        (["box_weighting", "iou"], "choose auto or none or quality"),
        (["box_weight", "0"], "box_weight 0.0: must be above 0"),
        (["quality_weight", "-1"], "quality_weight -1.0: must be at least 0"),
        (["anchor_offset", "1"], "at least 0 and below 1"),
        (["anchor_offset", "nan"], "anchor_offset nan"),
        (["norm_weight_decay", "false"], "did you mean 'weight_decay"),
    ],
)
def test_wrong_overrides(pairs: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BaseExp().override(pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"no class Exp\(BaseExp\)"),
        ("class Exp:\n    pass\n", r"no class Exp\(BaseExp\)"),
        (HEADER + "    bach_size = 4\n", "bach_size.*did you mean 'batch_size'"),
        (HEADER + "    def __init__(self):\n        self.learning_rte = 4\n", "learning_rte"),
        (HEADER + "    optimizer = 'adam'\n", "sgd or adamw"),
        (HEADER + "    batch_size = '4'\n", "batch_size = '4': expected a whole number"),
        (HEADER + "    class_names = 'cat'\n", "class_names = 'cat': expected a list of texts"),
        (HEADER + "    letterbox = (256,)\n", "letterbox.*expected 2 values"),
        (HEADER + "    workers = -1\n", "workers -1: must be at least 0"),
        (HEADER + "    channels = 33\n", "channels 33: must be even"),
        ("import no_such_module\n", "ModuleNotFoundError"),
        ("class Exp(\n", "line 1.*SyntaxError"),
        ("import sys\nsys.exit(0)\n", "line 2.*SystemExit"),
        ("from otadet.errors import UserError\nraise UserError('no disk')\n", "no disk"),
        (HEADER + "    def __init__(self, size):\n        pass\n", "TypeError.*size"),
        (HEADER + "    def build_assigner(self):\n        return 1 + 'a'\n", "label assignment: TypeError"),
    ],
)
def test_wrong_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"wrong.py.*{message}|{message}"):
        load_exp(tmp_path / "wrong.py")


NUMPY = "import numpy as np\nfrom otadet.exp import BaseExp\nfrom pathlib import Path\nclass Exp(BaseExp):\n"


def test_numpys_numbers_become_pythons(tmp_path: Path) -> None:
    path = tmp_path / "numbers.py"
    body = "    lr = 0.5 * np.sqrt(2)\n    batch_size = np.int32(4)\n    amp = np.bool_(True)\n"
    body += "    cache: Path = Path('a')\n"
    path.write_text(NUMPY + body + "    mean = np.array([120.0, 110, 100])\n    std = list(np.float32([50, 60, 70]))\n")
    exp = load_exp(path)
    assert (type(exp.lr), type(exp.batch_size), exp.amp) == (float, int, True)
    described = exp.describe()
    assert (described["mean"], described["std"], described["cache"]) == ((120, 110, 100), [50, 60, 70], "a")
    assert all(type(value) in (float, int) for name in ("mean", "std") for value in described[name])


@pytest.mark.parametrize(
    "pairs",
    [
        *(
            "prior_probability 0",
            "prior_probability 1",
            "std 0,0,0",
            "std 1,-1,1",
            "max_epochs inf",
            "max_epochs 1e300",
        ),
        *("seed -1", "seed 99999999999999999999999", "lr nan", "lr -0.1", "grad_clip 0", "grad_clip inf", "nms_iou 60"),
        *("flip 5", "flip -0.1", "ema 1", "ema 2", "eval_every -1", "tower_depth -1", "score_threshold -0.001"),
        *("mean 0.485,0.456,0.406 std 0.229,0.224,0.225", "mean nan,0,0", "momentum 1", "momentum -1"),
        *(
            "weight_decay -1",
            "weight_decay inf",
            "steps 0,5",
            "steps 5,3",
            "steps 1.5,3",
            "steps nan",
            "warmup_iterations -1",
        ),
        *("max_iterations 0", "log_every 0", "topk_per_level 0", "max_detections 0", "train_sizes ()", "train_sizes 0"),
        *("test_size 0", "max_size -1", "letterbox 0,0", "letterbox 1000000000,5", "workers 1000000", "channels 0"),
        *("num_classes 0", "data_dir a\0b", "weights a\0b"),
    ],
)
def test_values_that_cannot_work_are_named(pairs: str) -> None:
    pairs = pairs.split(" ")
    with pytest.raises(UserError, match=f"^({'|'.join(pairs[::2])})"):
        BaseExp().override(pairs)


def test_names_of_classes_are_fit_to_print() -> None:
    exp = BaseExp()
    exp.override(["class_names", "red\x1b[31m,b\nc"])
    assert exp.class_names == ("red [31m", "b c")
    with pytest.raises(UserError, match=r"class_names.* both 'a'"):
        exp.override(["class_names", "a,a"])


def test_a_message_does_not_fill_the_screen() -> None:
    with pytest.raises(UserError) as caught:
        BaseExp().override(["seed", "9" * 5000])
    assert len(str(caught.value)) < 200


def test_steps_in_epochs_may_fall_on_one_iteration() -> None:
    exp = BaseExp()
    exp.override(["max_epochs", "12", "steps", "8,11", "batch_size", "16", "warmup_iterations", "0"])
    schedule = exp.build_schedule(dataset_size=2)
    assert [schedule(iteration) for iteration in (0, 1)] == pytest.approx([1.0, 0.01])


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "    pass\n")
    with pytest.raises(UserError, match=r"did you mean '.*mine\.py'"):
        load_exp(tmp_path / "mime.py")


def test_a_missing_data_folder_says_which_field_to_set() -> None:
    exp = BaseExp()
    exp.data_dir = "no/such/folder"
    with pytest.raises(UserError, match=r"no/such/folder.*data_dir"):
        exp.build_train_dataset()


def test_describe_is_plain_python() -> None:
    plain = (str, int, float, bool, tuple, type(None))
    assert all(isinstance(value, plain) for value in BaseExp().describe().values())


@pytest.mark.parametrize("name", ["build_test_transform", "build_normalize"])
def test_a_method_that_nothing_calls_any_more_names_its_successor(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"    def {name}(self):\n        return None\n")
    with pytest.raises(UserError, match=f"{name}: nothing calls this any more; write build_input instead"):
        load_exp(path)


def test_the_pipeline_has_what_the_fields_say() -> None:
    exp = BaseExp()
    exp.override(["depth", "10", "channels", "16", "tower_depth", "1", "weights", "none", "letterbox", "64,96"])
    exp.override(["mean", "1,2,3", "image_bits", "12", "score", "product", "rank_by", "class", "nms_iou", "0.4"])
    pipeline = exp.build_pipeline(exp.build_model(2), ["a", "b"])
    assert pipeline.input == InputSpec(Letterbox((64, 96)), (1.0, 2.0, 3.0), exp.std, image_bits=12)
    assert pipeline.postprocess == Postprocess(nms_iou=0.4, rank_by="class", score="product")
    assert (pipeline.class_names, pipeline.model.strides) == (("a", "b"), (8, 16, 32, 64, 128))
    with pytest.raises(UserError, match="score sum: choose geometric_mean or product"):
        exp.override(["score", "sum"])
