"""Experiment files: what loads, what is overridden, and what is said of mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from otadet.assigners import DSLAAssigner, OTAAssigner, OTACost, SimOTAAssigner
from otadet.assigners.ops.costs import BCECost
from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import (
    FCOS,
    SGD,
    AdamW,
    BaseExp,
    Cosine,
    Epochs,
    InputSpec,
    Iterations,
    Letterbox,
    Postprocess,
    ResizeShortestEdge,
    ResNet,
    RetinaNet,
    Steps,
    load_exp,
    load_predictor,
)
from otadet.exp.fields import all_fields

HEADER = (
    "from otadet.exp import *\nfrom otadet.exp import BaseExp\n"
    "from otadet.assigners import OTAAssigner, SimOTAAssigner\nclass Exp(BaseExp):\n"
)


def write(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEADER + body, encoding="utf-8")
    return path


def test_the_defaults_are_the_papers() -> None:
    exp = BaseExp()
    assert exp.assigner == OTAAssigner(radius=2.5, top_q=20, iou_weight=1.5, eps=0.1, iterations=50)
    assert exp.model == FCOS(ResNet(50, weights="imagenet"), quality="iou", coarse_from="p5", anchor_offset=0.0)
    assert exp.optimizer == SGD(lr=0.01, momentum=0.9, weight_decay=1e-4, weight_decay_on="no_norms")
    assert (exp.length, exp.schedule) == (Iterations(90_000), Steps(at=(60_000, 80_000), warmup=1000))
    assert (exp.run.batch_size, exp.input.resize) == (16, ResizeShortestEdge((800,), 1333))
    assert exp.postprocess.rank_by == "score"


def test_overrides_have_the_type_of_their_field(tmp_path: Path) -> None:
    exp = load_exp(write(tmp_path, "    colour: str = 'red'\n    optimizer = SGD(lr=1)\n"))
    pairs = (
        "lr 0.02 batch_size 4 amp true backbone.weights none length 2.5epochs schedule.at 1,2epochs,0.9 resize 320x480"
    )
    exp.override([*pairs.split(), "class_names", "a,b", "colour", "deep blue", "data", "a folder/é"])
    assert (exp.optimizer.lr, exp.run.batch_size, exp.run.amp, exp.model.backbone.weights) == (0.02, 4, True, None)
    assert (exp.length, exp.schedule.at) == (Epochs(2.5), (1.0, Epochs(2), 0.9))
    assert (exp.input.resize, exp.data.class_names) == (Letterbox((320, 480)), ("a", "b"))
    assert (exp.colour, exp.data.folder) == ("deep blue", "a folder/é")


def test_one_word_switches_the_assigner(tmp_path: Path) -> None:
    exp = load_exp(write(tmp_path, "    assigner = OTAAssigner(radius=1.5)\n"))
    assert exp.build_loss().assigner == OTAAssigner(radius=1.5)
    exp.override(["assigner", "simota"])
    assert exp.build_loss().assigner == SimOTAAssigner()
    assert load_exp(write(tmp_path, "    assigner = SimOTAAssigner()\n")).build_loss().assigner == SimOTAAssigner()


@pytest.mark.parametrize("words", [["simota"], ["simota", "ota"]], ids=str)
def test_ota_and_simota_take_over_one_anothers_costs(words: list[str]) -> None:
    exp, own = load_exp("ota_csp_nano"), load_exp("ota_csp_nano").assigner
    for word in words:
        exp.override(["assigner", word])
    rule = {"ota": OTAAssigner, "simota": SimOTAAssigner}[words[-1]]
    assert exp.assigner == rule(cost=OTACost(3.0, own.class_cost, own.box_cost))
    exp.override(["assigner", "simota", "assigner.cost", "rtmdet"])
    assert exp.assigner.cost == OTACost.rtmdet()
    exp.override(["assigner", "ota"])
    assert exp.assigner.cost == OTACost.rtmdet()
    exp.override(["assigner", "dsla"])
    assert exp.assigner == DSLAAssigner()
    exp.override(["assigner", "ota"])
    assert exp.assigner == OTAAssigner()


def test_a_whole_part_is_set_before_the_fields_in_it_in_any_order() -> None:
    for pairs in ("assigner simota assigner.k 5", "k 5 assigner simota", "assigner.k 5 assigner simota"):
        exp = BaseExp()
        exp.override(pairs.split())
        assert exp.assigner == SimOTAAssigner(k=5)
    exp.override(["width", "32", "model.backbone", "resnet18", "backbone.weights", "none"])
    assert exp.model.backbone == ResNet(18, 32, None)


@pytest.mark.parametrize(
    ("pair", "path", "value"),
    [
        ("model retinanet", "model", RetinaNet()),
        ("model.backbone resnet18", "model.backbone", ResNet(18)),
        ("schedule cosine", "schedule", Cosine()),
        ("optimizer adamw", "optimizer", AdamW()),
        ("length 9000iterations", "length", Iterations(9000)),
        ("data FOLDER", "data.folder", "FOLDER"),
        ("train_resize 640,800/1333", "train_resize", ResizeShortestEdge((640, 800), 1333)),
        ("augment none", "augment", ()),
        ("augment.0.horizontal 0", "augment.0.horizontal", 0),
        ("horizontal 0", "augment.0.horizontal", 0),
        ("assigner.class_cost bce", "assigner.class_cost", BCECost()),
        ("schedule.warmup 0.05", "schedule.warmup", 0.05),
        ("warmup 2epochs", "schedule.warmup", Epochs(2)),
        ("assigner.class_cost.gamma 1.5", "assigner.class_cost.gamma", 1.5),
    ],
)
def test_paths_and_words(pair: str, path: str, value: object) -> None:
    exp = BaseExp()
    exp.override(pair.split())
    assert {field.path: field.value for field in all_fields(exp)}[path] == value


def test_a_setting_that_fails_changes_nothing() -> None:
    exp = BaseExp()
    with pytest.raises(UserError):
        exp.override(["lr", "0.5", "batch_size", "0"])
    assert exp.optimizer == SGD()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["bach_size", "4"], "did you mean 'batch_size'"),
        (["batch_size", "4.5"], "expected a whole number"),
        (["batch_size", "0"], "above 0"),
        (["lr", "fast"], "expected a number"),
        (["amp", "perhaps"], "true or false"),
        (["size", "320"], "did you mean"),
        (["resize", "320"], "640x640"),
        (["lr"], "pairs"),
        (["assigner", "simotta"], "did you mean 'simota'"),
        (["assigner", "none"], "needs a rule that assigns labels"),
        (["optimizer", "adam"], "sgd or adamw"),
        (["optimizer.momentun", "0.8"], "did you mean 'momentum'"),
        (["optimizer", "adamw", "momentum", "0.8"], "momentum: .* no such field; optimizer sgd has it"),
        (
            ["schedule", "cosine", "schedule.at", "0.5"],
            "schedule.at: schedule has no such field; it has final, .*, and schedule steps has at$",
        ),
        (["assigner", "atss", "assigner.k", "5"], "assigner.k: assigner has no such field; it has top"),
        (["iou_weight.x", "1"], "no such field"),
        (["lr.x", "1"], "no such field"),
        (["augment.1.p", "1"], "no such field"),
        (["coarse_from", "p4"], "choose p5 or c5"),
        (["depth", "20"], "choose 10 or 18 or 26 or 34 or 50 or 101"),
        (["weight_decay_on", "norms"], "choose all or no_norms or weights"),
        (["rank_by", "iou"], "choose score or class"),
        (["box_weighting", "iou"], "choose auto or none or quality"),
        (["box_weight", "0"], "box_weight 0.0: must be above 0"),
        (["quality_weight", "-1"], "quality_weight -1.0: must be at least 0"),
        (["anchor_offset", "1"], "at least 0 and below 1"),
        (["anchor_offset", "nan"], "anchor_offset nan"),
        (["norm_weight_decay", "false"], "did you mean 'weight_decay"),
        (["epochs", "12"], r"it has length in its place, such as `length 12epochs`"),
        (["max_epochs", "12"], r"it has length in its place, such as `length 12epochs`"),
        (["data_dir", "x"], r"such as `data FOLDER`"),
        (["steps", "1,2"], r"it has schedule.at in its place"),
        (["loss", "free_anchor"], "set assigner none"),
        (["loss", "free_anchor", "assigner", "none", "quality", "centerness"], "choose iou or none"),
        (["quality", "none", "quality_weight", "0.5"], "the model has no quality branch"),
        (["quality", "none", "score", "product"], "postprocess.score product: the model has no quality branch"),
        (["amp_dtype", "bf16"], "set amp true"),
        (["unreadable", "skip", "prescan", "false"], "set prescan true"),
        (["width", "32"], "set backbone.weights none"),
        (["run", "fast"], "set run.batch_size, run.workers"),
        (["length", "12"], "expected 9000iterations or 12epochs"),
    ],
)
def test_wrong_overrides(pairs: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BaseExp().override(pairs)


OWN_MODEL = "    def build_model(self, num_classes):\n        return {made}\n"


@pytest.mark.parametrize(
    ("made", "is_heard"),
    [
        ("None", False),
        ("self.model.build(num_classes)", True),
        ("super().build_model(num_classes)", True),
        ("self.helped(num_classes)\n    def helped(self, n):\n        return self.model.build(n)", True),
        ("self.helped(num_classes)\n    def helped(self, n):\n        return self.run", False),
        ("[part.build(3) for part in (lambda: [self.model])()]", True),
    ],
)
def test_a_setting_that_a_method_of_the_file_does_not_look_at(made: str, is_heard: bool, tmp_path: Path) -> None:
    exp = load_exp(write(tmp_path, OWN_MODEL.format(made=made)))
    exp.override(["lr", "0.5"])
    if is_heard:
        exp.override(["model.channels", "32"])
        assert exp.model.channels == 32
        return
    with pytest.raises(UserError, match=r"model: the experiment's own build_model does not look at it \(self.model\)"):
        exp.override(["model.channels", "32"])


@pytest.mark.parametrize(("made", "is_heard"), [("5", False), ("self.length.iterations(dataset_size, 4)", True)])
def test_a_length_that_the_file_works_out_by_itself(made: str, is_heard: bool, tmp_path: Path) -> None:
    exp = load_exp(write(tmp_path, f"    def iterations(self, dataset_size):\n        return {made}\n"))
    if is_heard:
        exp.override(["length", "3epochs"])
        return
    with pytest.raises(UserError, match=r"length: the experiment's own iterations does not look at it"):
        exp.override(["length", "3epochs"])


def test_a_name_that_several_parts_have_lists_them() -> None:
    exp = BaseExp()
    with pytest.raises(
        UserError, match=r"gamma: several parts have such a field; choose assigner.cost.class_cost.gamma or "
    ):
        exp.override(["assigner", "hungarian", "loss", "free_anchor", "gamma", "2"])


def test_no_weights_are_none_anywhere() -> None:
    exp = BaseExp()
    exp.override(["weights", "None", "depth", "18"])
    assert exp.model.weights is exp.model.backbone.weights is None
    exp.override(["model", "yolox_nano", "loss", "bce_iou", "weights", "none"])
    assert exp.model.weights is None
    with pytest.raises(UserError, match=r"weights: several .* choose model.backbone.weights or model.weights"):
        BaseExp().override(["weights", "imagenet"])
    with pytest.raises(UserError, match="weight: the experiment has no such field"):
        BaseExp().override(["weight", "none"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"no class Exp\(BaseExp\)"),
        ("class Exp:\n    pass\n", r"no class Exp\(BaseExp\)"),
        (HEADER + "    bach_size = 4\n", "bach_size.*did you mean 'batch_size'"),
        (HEADER + "    def __init__(self):\n        self.learning_rte = 4\n", "learning_rte"),
        (HEADER + "    lr = 0.1\n", "lr: .* no such field of its own.* optimizer.lr"),
        (HEADER + "    max_epochs = 3\n", "max_epochs: .* it has length in its place"),
        (HEADER + "    optimizer = 'adam'\n", r"optimizer = 'adam': expected SGD\(...\) or AdamW\(...\)"),
        (HEADER + "    optimizer = SGD(lr=-1)\n", "line 5: SGD: lr -1: must be above 0"),
        (HEADER + "    run = Run(batch_size='4')\n", "batch_size = '4': expected a whole number"),
        (HEADER + "    data = CocoData(class_names='cat')\n", "class_names = 'cat': expected a list of texts"),
        (HEADER + "    train_resize = Letterbox((256,))\n", "size.*expected 2 values"),
        (HEADER + "    run = Run(workers=-1)\n", "workers -1: must be at least 0"),
        (HEADER + "    model = FCOS(channels=33)\n", "channels 33: must be even"),
        (
            HEADER + "    def build_modle(self, n):\n        pass\n",
            "build_modle: nothing calls.*did you mean 'build_model'",
        ),
        (HEADER + "    def build_normalize(self): pass\n", "build_normalize: nothing calls.*set the field input"),
        (HEADER + "    def build_test_transform(self): pass\n", "nothing calls.*set the field input"),
        (HEADER + "    def build_head(self): pass\n", "build_head: nothing calls.*set the field model"),
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


NUMPY = "import numpy as np\nfrom otadet.exp import *\nfrom pathlib import Path\nclass Exp(BaseExp):\n"


def test_numpys_numbers_become_pythons(tmp_path: Path) -> None:
    path = tmp_path / "numbers.py"
    body = "    optimizer = SGD(lr=0.5 * np.sqrt(2))\n    run = Run(batch_size=np.int32(4), amp=np.bool_(True))\n"
    body += "    cache: Path = Path('a')\n"
    body += "    input = InputSpec(mean=np.array([120.0, 110, 100]), std=list(np.float32([50, 60, 70])))\n"
    path.write_text(NUMPY + body)
    exp = load_exp(path)
    assert (type(exp.optimizer.lr), type(exp.run.batch_size), exp.run.amp) == (float, int, True)
    described = exp.describe()
    assert (described["input"]["mean"], described["input"]["std"]) == ([120, 110, 100], [50, 60, 70])
    assert described["cache"] == "a"
    assert all(type(value) in (float, int) for name in ("mean", "std") for value in described["input"][name])


@pytest.mark.parametrize(
    "pairs",
    [
        *("model.prior_probability 0", "model.prior_probability 1", "input.std 0,0,0", "input.std 1,-1,1"),
        *("length.count 0", "run.seed -1", "run.seed 99999999999999999999999", "optimizer.lr nan"),
        *("optimizer.lr -0.1", "run.grad_clip 0", "run.grad_clip inf", "postprocess.nms_iou 60"),
        *("augment.0.horizontal 5", "augment.0.horizontal -0.1", "run.ema 1", "run.ema 2", "run.eval_every -1"),
        *("model.tower_depth -1", "postprocess.score_threshold -0.001", "optimizer.momentum 1"),
        *("input.mean 0.485,0.456,0.406 input.std 0.229,0.224,0.225", "input.mean nan,0,0", "optimizer.momentum -1"),
        *("optimizer.weight_decay -1", "optimizer.weight_decay inf", "schedule.at 0,5", "schedule.at 5,3"),
        *("schedule.at 1.5,3", "schedule.at nan", "schedule.warmup -1", "length 0iterations", "length infepochs"),
        *("length 1e300epochs", "run.log_every 0", "postprocess.topk_per_level 0", "postprocess.max_detections 0"),
        *("input.resize.sizes ()", "input.resize.sizes 0", "input.resize.max_size -1", "input.resize 0x0"),
        *("input.resize 1000000000x5", "run.workers 1000000", "model.channels 0", "data.num_classes 0", "data a\0b"),
        *("model.backbone.weights a\0b", "assigner.k 0", "assigner.radius nan", "assigner.iou_weight inf"),
    ],
)
def test_values_that_cannot_work_are_named(pairs: str) -> None:
    pairs = pairs.split(" ")
    with pytest.raises(UserError, match=f"^({'|'.join(pairs[::2])})"):
        BaseExp().override(pairs)


def test_a_list_of_words_says_which() -> None:
    with pytest.raises(
        UserError, match=r"^run\.freeze foo: .* list of backbone or neck or head, such as backbone,neck$"
    ):
        BaseExp().override(["run.freeze", "foo"])


def test_names_of_classes_are_fit_to_print() -> None:
    exp = BaseExp()
    exp.override(["class_names", "red\x1b[31m,b\nc"])
    assert exp.data.class_names == ("red [31m", "b c")
    with pytest.raises(UserError, match=r"class_names.* both 'a'"):
        exp.override(["class_names", "a,a"])


def test_a_message_does_not_fill_the_screen() -> None:
    with pytest.raises(UserError) as caught:
        BaseExp().override(["seed", "9" * 5000])
    assert len(str(caught.value)) < 200


def test_steps_in_epochs_may_fall_on_one_iteration() -> None:
    exp = BaseExp()
    exp.override(["length", "12epochs", "schedule.at", "8epochs,11epochs", "batch_size", "16", "warmup", "0"])
    schedule = exp.build_schedule(dataset_size=2)
    assert [schedule(iteration) for iteration in (0, 1)] == pytest.approx([1.0, 0.01])


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "    pass\n")
    with pytest.raises(UserError, match=r"did you mean '.*mine\.py'"):
        load_exp(tmp_path / "mime.py")


def test_a_missing_data_folder_says_which_field_to_set() -> None:
    exp = BaseExp()
    exp.override(["data", "no/such/folder"])
    with pytest.raises(UserError, match=r"no/such/folder.*data FOLDER"):
        exp.build_train_dataset()


def test_the_pipeline_has_what_the_fields_say() -> None:
    exp = BaseExp()
    exp.override(
        ["depth", "10", "channels", "16", "tower_depth", "1", "backbone.weights", "none", "input.resize", "64x96"]
    )
    exp.override(["mean", "1,2,3", "image_bits", "12", "score", "product", "rank_by", "class", "nms_iou", "0.4"])
    pipeline = exp.build_pipeline(exp.build_model(2), ["a", "b"])
    assert pipeline.input == InputSpec(Letterbox((64, 96)), (1.0, 2.0, 3.0), exp.input.std, image_bits=12)
    assert pipeline.postprocess == Postprocess(nms_iou=0.4, rank_by="class", score="product")
    assert (pipeline.class_names, pipeline.model.strides) == (("a", "b"), (8, 16, 32, 64, 128))
    # `classes` is the name of another part's field as well, which has a syntax of its own.
    exp.override(["postprocess.classes", "best"])
    assert exp.postprocess.classes == "best"
    with pytest.raises(UserError, match="score sum: choose geometric_mean or product"):
        exp.override(["score", "sum"])


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_plain(item) for name, item in value.items())
    return all(map(is_plain, value)) if isinstance(value, list) else isinstance(value, str | int | float | None)


def test_describe_is_plain_python() -> None:
    assert is_plain(BaseExp().describe())


def test_the_part_of_ones_own_in_the_docs_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    text, backbone = (next(block for block in blocks if name in block) for name in ("class Frozen", "class Slim"))
    (tmp_path / "docs.py").write_text(text, encoding="utf-8")
    (tmp_path / "backbone.py").write_text(backbone, encoding="utf-8")
    exp = load_exp(tmp_path / "docs.py")
    exp.override(["backbone.weights", "none", "depth", "10"])
    model = exp.build_model(3)
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert exp.describe()["model"]["file"] == "docs.py"
    slim = load_exp(tmp_path / "backbone.py")
    detector = slim.build_model(2)
    assert (detector.strides, detector.size_divisor) == ((4, 8, 16, 32, 64), 16)
    assert detector(torch.zeros(1, 3, 48, 64))[1].level_sizes[0] == (12, 16)
    save_checkpoint(
        tmp_path / "slim.pth", {"model": detector.state_dict(), "class_names": ["a", "b"], "parts": slim.describe()}
    )
    assert load_predictor(slim, tmp_path / "slim.pth")(np.zeros((40, 50, 3), np.uint8)).boxes.shape[1] == 4
