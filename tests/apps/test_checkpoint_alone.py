"""Every app gives with a checkpoint alone what it gives with the experiment's file, for every shipped experiment."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import onnx
import pytest
import torch

from otadet.apps import evaluate, export, predict, show
from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import YOLOX, BaseExp, CrowdHumanData, SyntheticShapes, load_exp
from otadet.inference.pipeline import Pipeline
from tests.helpers.crowd_folder import write_crowd

EXPS = Path(__file__).parents[2] / "exps"
FILES = sorted(EXPS.rglob("*.py"))
TINY = shlex.split(
    "input.resize 64x64 run.batch_size 2 run.workers 0 postprocess.score_threshold 0 model.prior_probability 0.6"
)
SMALL = shlex.split(
    "model.backbone.depth 10 model.backbone.width 8 model.backbone.weights none model.channels 8 model.tower_depth 1"
)
# An objectness as likely makes a product, which is to be above the 0.5 that is drawn.
CSP = shlex.split("model.width 0.125 model.prior_probability 0.9")

GROUPED = shlex.split("model.backbone.depth 26 model.backbone.width 16")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_synthetic(folder, images_train=2, images_val=2, size=64, classes=2)
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crowd(tmp_path_factory.mktemp("people") / "data")


def tiny(file: Path, data: Path) -> tuple[BaseExp, list[str]]:
    """The experiment, and the settings that make it tiny."""
    exp = load_exp(file)
    # A ResNeXt keeps its groups, and a CrowdHuman experiment its protocol.
    small = CSP if isinstance(exp.model, YOLOX) else [*SMALL, *(GROUPED if exp.model.backbone.groups > 1 else [])]
    settings = [*TINY, *small, "data", str(data)]
    if isinstance(exp.data, SyntheticShapes):
        settings += ["images_train", "2", "images_val", "2", "image_size", "64", "shapes", "2"]
    exp.override(settings)
    return exp, settings


def write_checkpoint(exp: BaseExp, path: Path) -> None:
    """Of an untrained network, with the classes of the data."""
    torch.manual_seed(0)
    names = exp.build_val_dataset().class_names
    described = {"parts": exp.describe(), "experiment": exp.about()}
    weights = exp.build_model(len(names)).state_dict()
    save_checkpoint(path, {"model": weights, "ema": None, "class_names": list(names), **described})


class Exported:
    """Stands in for the exporter, which takes seconds: what it is given, as text."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(
        self, pipeline: Pipeline, path: Path, options: object, experiment: str, from_training: bool, report: object
    ) -> Exported:
        weights = {name: hash_tensor(tensor) for name, tensor in pipeline.model.state_dict().items()}
        parts = (type(pipeline.model), pipeline.input, pipeline.postprocess, pipeline.class_names, options, experiment)
        self.given.append(f"{weights} {parts} {from_training}")
        path.write_text("a graph")
        return self

    def to_plain(self) -> dict[str, str]:
        return {}


def hash_tensor(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_with_and_without_the_file(
    file: Path,
    shapes: Path,
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_crowd = isinstance(load_exp(file).data, CrowdHumanData)
    exp, settings = tiny(file, people if is_crowd else shapes)
    source = people / "Images" / "val0.jpg" if is_crowd else shapes / "val" / "000001.png"
    path = tmp_path / "best.pth"
    write_checkpoint(exp, path)
    common = ["-c", str(path), "--device", "cpu", "--json"]
    image, picture = str(source), tmp_path / "drawn" / source.name
    assigned = tmp_path / "assigned"
    rules = ["--assigner", *(["exp"] if exp.assigner is not None else []), "atss"]
    exported = Exported()
    if exp.name != "quickstart":
        monkeypatch.setattr("otadet.export.export_onnx", exported)
    apps = {
        evaluate: [],
        predict: ["--path", image, "--output", str(picture.parent)],
        export: ["--output", str(tmp_path / "a.onnx")],
        show: ["--path", image, *rules, "--output", str(assigned)],
    }
    seen = []
    for given in ([], ["-f", str(file), *settings]):
        found = []
        for app, options in apps.items():
            app.main([*given, *common, *options])
            found.append(json.loads(capsys.readouterr().out))
        found += [picture.read_bytes(), *(drawn.read_bytes() for drawn in sorted(assigned.iterdir()))]
        found.append(exported.given.pop() if exported.given else graph_of(tmp_path / "a.onnx"))
        seen.append(found)
    alone, with_file = seen
    assert alone == with_file
    assert alone[0]["stats"]["AP"] >= 0
    assert alone[1][0]["detections"]


def graph_of(path: Path) -> bytes:
    """Without what a run of the exporter says of itself."""
    model = onnx.load(path)
    assert len(model.graph.initializer) > 10
    return model.graph.SerializeToString(deterministic=True)


def test_a_part_of_a_file_is_asked_for_by_every_app_that_needs_it(shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom otadet.exp import *\n"
        "@dataclass(frozen=True)\nclass Mine(Postprocess):\n    pass\n"
        "class Exp(BaseExp):\n    postprocess: Postprocess = Mine()\n"
    )
    exp, _ = tiny(file, shapes)
    path = tmp_path / "best.pth"
    write_checkpoint(exp, path)
    common = ["-c", str(path), "--device", "cpu"]
    asked = r"best\.pth: postprocess is Mine, of mine\.py; give that file with -f"
    for app, options in ((evaluate, []), (export, []), (predict, ["--path", str(shapes / "val")])):
        with pytest.raises(UserError, match=asked):
            app.main([*common, *options])
    # The rules of label assignment look at what the network predicts, not at detections.
    show.main([*common, "--path", str(shapes / "val" / "000001.png"), "--output", str(tmp_path / "assigned")])
    assert list((tmp_path / "assigned").iterdir())


def test_without_file_and_checkpoint_there_is_no_experiment() -> None:
    with pytest.raises(UserError, match="which experiment"):
        show.main(["--path", "a.png", "--device", "cpu"])
