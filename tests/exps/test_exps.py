"""Every file in exps/ loads and trains: a step at a small size, and the settings that the paper's tables vary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from otadet.assigners import ATSSAssigner, FCOSAssigner, OTAAssigner, PAAAssigner
from otadet.data.transforms import Letterbox
from otadet.errors import UserError
from otadet.exp import YOLOX, BaseExp, load_exp
from otadet.export import export_onnx
from otadet.inference.postprocess import Postprocess
from otadet.losses import centerness_target, iou_target
from otadet.models import FCOSHead, RetinaNetHead
from otadet.structures import GroundTruth
from tests.helpers.small_networks import small_network

FOLDER = Path(__file__).parents[2] / "exps"
FILES = sorted(FOLDER.rglob("*.py"))
ABLATIONS = sorted((FOLDER / "ablation").glob("*.py"))
SMALL = ["depth", "10", "channels", "32", "tower_depth", "1", "backbone.weights", "none"]


def small(path: Path) -> BaseExp:
    """The experiment of a file with a small network."""
    exp = load_exp(path)
    exp.override([*small_network(exp), *([] if isinstance(exp.model, YOLOX) else ["model.channels", "32"])])
    return exp


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_step_reaches_every_parameter(path: Path, generator: torch.Generator) -> None:
    exp = small(path)
    torch.manual_seed(0)
    model = exp.build_model(3)
    corners = torch.rand(6, 2, generator=generator) * 64
    truth = GroundTruth(
        torch.cat((corners, corners + 16 + 16 * torch.rand(6, 2, generator=generator)), 1), torch.arange(6) % 3
    )
    losses = exp.build_loss()(*model(torch.randn(2, 3, 64, 96, generator=generator)), [truth, truth])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    exp.build_optimizer(model).step()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.count_nonzero() == 0 or not torch.equal(parameter, before[name]), name
    assert any(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


EXPORTED = {
    "ablation/tab1_fcos.py": "here",
    "ablation/tab2_atss.py": "here",
    "blood_cells.py": "here",
    "crowdhuman/free_anchor_r50.py": "here",
    "crowdhuman/retinanet_r50.py": "here",
    "ota_csp_nano.py": "here",
    "crowdhuman/ota_r50.py": "tests/exps/test_crowdhuman.py",
    "ota_fcos_x101_2x.py": "tests/exps/test_tab5.py",
    "ota_fcos_x101_dcn_2x.py": "tests/exps/test_tab5.py",
}
"""One file of every kind of detector -> the tests that export it."""


def kind_of(exp: BaseExp) -> tuple[object, ...]:
    """All that makes its file another graph, or other metadata, but for sizes and numbers of layers."""
    model, own = exp.model, exp.postprocess
    parts = ("quality", "coarse_from", "deformable_towers")
    backbone = getattr(model, "backbone", None)
    is_grouped = getattr(backbone, "groups", 1) > 1
    network = (type(model).__name__, is_grouped, *(getattr(model, name, None) for name in parts))
    return (*network, type(exp.input.resize).__name__, own.rank_by, own.score, own.classes)


def test_every_experiment_is_of_a_kind_that_is_exported() -> None:
    kinds = {kind_of(load_exp(FOLDER / name)) for name in EXPORTED}
    assert len(kinds) == len(EXPORTED)
    for path in FILES:
        assert kind_of(load_exp(path)) in kinds, f"{path.name}: no test exports such a detector"


@pytest.mark.parametrize("name", [name for name, where in EXPORTED.items() if where == "here"])
def test_a_file_computes_what_the_experiment_does(name: str, tmp_path: Path) -> None:
    """The export compares the two, and writes nothing where they differ."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    exp = small(FOLDER / name)
    size = "64x64" if isinstance(exp.input.resize, Letterbox) else "64/64"
    exp.override(["input.resize", size, *([] if isinstance(exp.model, YOLOX) else ["tower_depth", "0"])])
    torch.manual_seed(0)
    metadata = export_onnx(exp.build_pipeline(exp.build_model(3), ("a", "b", "c")), tmp_path / "model.onnx")
    assert (metadata.size, metadata.postprocess) == ((64, 64), exp.postprocess)


TAB_5 = [FOLDER / f"ota_fcos_{backbone}_2x.py" for backbone in ("r101", "x101", "x101_dcn")]


def ablation(name: str, *overrides: str):
    exp = load_exp(FOLDER / "ablation" / name)
    exp.override([*SMALL, *overrides])
    return exp


OTA = "../ota_fcos_r50.py"
ROWS = [
    ("tab1_fcos.py", "", FCOSAssigner(radius=1.5)),
    ("tab1_fcos.py", "assigner.radius none", FCOSAssigner(radius=None)),
    ("tab2_atss.py", "", ATSSAssigner(topk=9)),
    ("tab2_atss.py", "assigner.topk 25", ATSSAssigner(topk=25)),
    ("tab2_paa.py", "", PAAAssigner(topk=9)),
    ("tab2_paa.py", "assigner.topk 25", PAAAssigner(topk=25)),
    (OTA, "", OTAAssigner(prior="window", k=None)),
    (OTA, "assigner.k 10", OTAAssigner(k=10)),
    (OTA, "assigner.k 10 assigner.prior none", OTAAssigner(k=10, prior="none")),
    (OTA, "model retinanet backbone.weights none", OTAAssigner(prior="window", k=None)),
    (OTA, "assigner.radius 2.5", OTAAssigner(radius=2.5)),
    (OTA, "assigner.radius 3.5", OTAAssigner(radius=3.5)),
    (OTA, "assigner.ambiguity min_area", OTAAssigner(ambiguity="min_area")),
    (OTA, "assigner.ambiguity max_iou", OTAAssigner(ambiguity="max_iou")),
    (OTA, "assigner.ambiguity none", OTAAssigner(ambiguity=None)),
    (OTA, "assigner.k 1", OTAAssigner(k=1)),
    (OTA, "assigner.k none", OTAAssigner(k=None)),
]


@pytest.mark.parametrize(("name", "overrides", "expected"), ROWS)
def test_the_rows_of_a_table_are_overrides(name: str, overrides: str, expected) -> None:
    assert ablation(name, *overrides.split()).build_loss().assigner == expected


def test_the_default_row_of_every_file_is_pinned() -> None:
    assert {path.name for path in ABLATIONS} == {name for name, overrides, _ in ROWS if not overrides} - {OTA}


PAPER = [
    *TAB_5,
    FOLDER / "ota_fcos_r50.py",
    FOLDER / "simota_fcos_r50.py",
    FOLDER / "free_anchor_fcos_r50.py",
    *ABLATIONS,
]


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.name)
def test_the_papers_rows_have_the_released_detector(path: Path) -> None:
    exp = small(path)
    model = exp.build_model(2)
    assert model.neck.p6.in_channels == 32
    _, anchors = model(torch.zeros(1, 3, 64, 96))
    assert anchors.points[:3].tolist() == [[0, 0], [8, 0], [16, 0]]
    *_, spared = exp.build_optimizer(model).param_groups
    norms = {id(parameter) for name, parameter in model.named_parameters() if ".class_tower.1." in name}
    assert spared["weight_decay"] == 0
    assert norms <= {id(parameter) for parameter in spared["params"]}
    assert id(model.head.logits.bias) not in {id(parameter) for parameter in spared["params"]}
    assert exp.run.group_by_aspect
    by_class = path.name in ("tab1_fcos.py", "tab2_atss.py", "tab2_paa.py")
    assert exp.postprocess == Postprocess(0.05, 1000, 0.6, 100, "class" if by_class else "score")


@pytest.mark.parametrize(
    ("name", "overrides", "box_weight", "box_weighting", "quality_weight"),
    [
        ("tab1_fcos.py", "quality centerness", 2.0, "quality", 1.0),
        ("tab1_fcos.py", "quality iou", 2.0, "none", 0.5),
        ("tab1_fcos.py", "quality none", 2.0, "none", 0.5),
        (OTA, "", 2.0, "none", 0.5),
        (OTA, "model retinanet backbone.weights none", 2.0, "none", 0.5),
        ("tab2_atss.py", "", 2.0, "quality", 1.0),
        ("tab2_atss.py", "box_weighting none quality_weight 0.5", 2.0, "none", 0.5),
        ("tab2_paa.py", "", 1.3, "quality", 0.5),
        ("tab2_paa.py", "quality none loss.quality_weight none loss.box_weighting none", 1.3, "none", 0.5),
    ],
)
def test_each_rule_has_its_own_weights_in_the_loss(
    name: str, overrides: str, box_weight: float, box_weighting: str, quality_weight: float
) -> None:
    loss = ablation(name, *overrides.split()).build_loss()
    assert (loss.box_weight, loss.box_weighting, loss.quality_weight) == (box_weight, box_weighting, quality_weight)


@pytest.mark.parametrize("path", [*ABLATIONS, FOLDER / OTA[3:]], ids=lambda path: path.name)
def test_the_head_and_its_auxiliary_branch(path: Path) -> None:
    exp = small(path)
    assert type(exp.build_model(2).head) is FCOSHead
    assert exp.model.quality == ("centerness" if path.name == "tab2_atss.py" else "iou")
    assert exp.build_model(2).head.quality is not None
    exp.override(["quality", "none", "quality_weight", "none", "box_weighting", "auto"])
    assert exp.build_model(2).head.quality is None


def test_the_rows_of_retinanet_have_its_head() -> None:
    exp = ablation(OTA, "model", "retinanet")
    assert type(exp.build_model(2).head) is RetinaNetHead


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.name)
def test_the_command_of_a_docstring_is_one_of_the_file(path: Path) -> None:
    pattern = r"^python tools/train\.py -f (\S+) ?(.*) --output runs/\S+$"
    ((file, overrides),) = re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    assert file == f"exps/ablation/{path.name}"
    ablation(path.name, *overrides.split())


def rows_of_the_table() -> list[str]:
    """The settings of docs/reproduction.md, of the lines that begin with a table's number."""
    text = (FOLDER.parent / "docs" / "reproduction.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| Tab\. [1-6] ", line)]
    return [re.findall(r"`-f exps/([^\s`]+) ?([^`]*)`", row)[0] for row in rows]


def test_every_row_of_the_tables_is_a_command() -> None:
    rows = rows_of_the_table()
    assert len(rows) > 30
    for file, overrides in rows:
        exp = load_exp(FOLDER / file)
        exp.override([*overrides.split(), *small_network(exp)])


def test_a_row_that_cannot_be_is_an_error() -> None:
    for pair in ("k", "0"), ("k", "many"):
        with pytest.raises(UserError, match="k"):
            ablation(OTA, *pair)
    with pytest.raises(UserError, match="ambiguity"):
        ablation(OTA, "ambiguity", "largest")


@pytest.mark.parametrize("name", ["tab2_atss.py", "tab2_paa.py"])
@pytest.mark.parametrize("top", ["0", "-3"])
def test_candidates_below_1_are_an_error_that_names_it(name: str, top: str) -> None:
    with pytest.raises(UserError, match=f"^assigner.topk {top}: must be at least 1"):
        ablation(name, "assigner.topk", top)


@pytest.mark.parametrize(
    ("quality", "target"), [("iou", iou_target), ("centerness", centerness_target), ("none", None)]
)
def test_the_auxiliary_branch_is_a_field(quality: str, target) -> None:
    exp = ablation("tab1_fcos.py", "quality", quality)
    predictions, _ = exp.build_model(2).eval()(torch.zeros(1, 3, 64, 64))
    assert (predictions.quality is None) == (target is None)
    if target is not None:
        assert exp.build_loss().quality_target is target


@pytest.mark.parametrize(
    ("name", "side", "sides"),
    [("ota_csp_nano", 416, (320, 640)), ("ota_csp_tiny", 416, (320, 640)), ("ota_csp_s", 640, (480, 800))],
)
def test_the_sizes_of_yoloxs_family_are_the_published_ones(name: str, side: int, sides: tuple[int, int]) -> None:
    exp = load_exp(name)
    assert exp.input.resize.size == (side, side)
    resizes = exp.train_resize.resizes
    assert (resizes[0].size, resizes[-1].size, len(resizes)) == ((sides[0],) * 2, (sides[1],) * 2, 11)
