from pathlib import Path

import pytest

from otadet.engine.checkpoint import save_checkpoint
from otadet.errors import UserError
from otadet.exp import load_exp
from otadet.export.onnx_predictor import OnnxPredictor
from tests.helpers.programs import load_program

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NAMES = ["cat", "dog"]
EXPERIMENT = """
from torch import nn

from otadet.exp import BaseExp, CocoData, InputSpec, Letterbox
from otadet.models import FPN, Detector, FCOSHead


class Strided(nn.Module):
    strides = (8, 16, 32)

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList((nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 2, 2), nn.Conv2d(8, 8, 2, 2)))

    def forward(self, images):
        features = [images]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class Exp(BaseExp):
    input = InputSpec(Letterbox((64, 96)))

    def build_model(self, num_classes):
        return Detector(Strided(), FPN((8, 8, 8), (8, 16, 32), 8), FCOSHead(num_classes, 8, depth=1, levels=5))
"""


@pytest.fixture(scope="module")
def tool():
    return load_program("tools/export_onnx.py")


@pytest.fixture
def export(tool, monkeypatch, tmp_path: Path):
    """Call the tool for a small experiment and its checkpoint, with the arguments given."""
    experiment = tmp_path / "small.py"
    experiment.write_text(EXPERIMENT)
    model = load_exp(experiment).build_model(len(NAMES))
    save_checkpoint(tmp_path / "best.pth", {"model": model.state_dict(), "ema": None, "class_names": NAMES})

    def call(*arguments: str, checkpoint: str = "best.pth") -> None:
        command = ["export_onnx.py", "-f", str(experiment), "-c", str(tmp_path / checkpoint), "--device", "cpu"]
        monkeypatch.setattr("sys.argv", [*command, *arguments])
        tool.main()

    return call


def test_writes_beside_the_checkpoint_what_options_and_overrides_say(export, tmp_path: Path, capsys):
    export("--opset", "19", "--nms", "score_threshold", "0.01")
    metadata = OnnxPredictor(tmp_path / "best.onnx").metadata
    assert (metadata.opset, metadata.nms, metadata.score_threshold) == (19, True, 0.01)
    assert (metadata.size, metadata.class_names, metadata.experiment) == ((64, 96), tuple(NAMES), "small")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "boxes differ by" in lines[2]
    assert lines[3].startswith(f"wrote {tmp_path / 'best.onnx'}")


@pytest.mark.parametrize(
    ("arguments", "checkpoint", "message"),
    [
        (["--opset", "5"], "best.pth", "opset 5: choose one from"),
        (["--size", "50", "64"], "best.pth", "must be multiples of 32, such as 64 x 64"),
        ([], "bset.pth", r"bset\.pth: no such checkpoint; did you mean .*best\.pth"),
        (["class_names", "cat,dog,cow"], "best.pth", r"trained for 2 classes \(cat, dog\).* 3 \(cat, dog, cow\)"),
        (["num_classes", "3"], "best.pth", r"trained for 2 classes \(cat, dog\), but num_classes is 3"),
        (["--output", "{folder}"], "best.pth", "is a folder; name a file"),
        (["score_treshold", "0.1"], "best.pth", "did you mean 'score_threshold'"),
    ],
)
def test_mistakes(export, tmp_path: Path, arguments: list[str], checkpoint: str, message: str):
    with pytest.raises(UserError, match=message):
        export(*(argument.format(folder=tmp_path) for argument in arguments), checkpoint=checkpoint)
    assert not list(tmp_path.glob("*.onnx"))
