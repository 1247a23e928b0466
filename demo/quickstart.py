"""The whole path on synthetic images: train, evaluate, draw and export, with the tools that real data would use.

python demo/quickstart.py [OUTPUT]

Each command is printed before it runs; they work in the same way with any other experiment file. It takes a few minutes
on two CPU cores. OUTPUT (runs/quickstart) then holds the checkpoints, curves.png, predictions.png, drawn/, model.onnx.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from otadet.command_line import Parser, as_path  # noqa: E402
from otadet.engine.stop import StopRequest  # noqa: E402


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "output",
        nargs="?",
        type=as_path,
        default=Path("runs/quickstart"),
        metavar="OUTPUT",
        help="folder for all of it",
    )
    output = parser.parse_args().output
    experiment = ["-f", str(ROOT / "exps/quickstart.py"), "--device", "cpu"]
    trained = [*experiment, "-c", str(output / "best.pth")]
    pictures = output / "some_images"
    start = time.monotonic()
    run("train.py", *experiment, "--output", str(output))
    run("eval.py", *trained, "--per-class", "--save-json", str(output / "predictions.json"))
    copy_some("datasets/synthetic/val", pictures)
    drawn = ["--output", str(output / "drawn"), "--save-json", str(output / "drawn.json")]
    run("demo.py", "image", *trained, "--path", str(pictures), *drawn)
    run("export_onnx.py", *trained, "--output", str(output / "model.onnx"), "--dynamic-batch")
    print(f"\ndone in {(time.monotonic() - start) / 60:.1f} minutes; see {output}/predictions.png and {output}/drawn")


def run(tool: str, *arguments: str) -> None:
    """Run a tool in this interpreter's environment, and stop where it fails."""
    print(f"\n$ python tools/{tool} {shlex.join(arguments)}", flush=True)
    # A checkout that is not installed works as well.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, str(ROOT / "tools" / tool), *arguments]
    # The tool ends in order where it is asked to, and this program with it.
    with StopRequest(quiet=True) as stop, subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if stop.requested and os.name == "posix":  # elsewhere Ctrl-C reaches it by itself, and this would kill it
                process.terminate()
                process.wait()
    if process.returncode:
        sys.exit(process.returncode)


def copy_some(folder: str, target: Path, count: int = 6) -> None:
    """The first images of a folder, copied to a folder of their own."""
    target.mkdir(parents=True, exist_ok=True)
    for image in sorted(Path(folder).glob("*.png"))[:count]:
        (target / image.name).write_bytes(image.read_bytes())


if __name__ == "__main__":
    main()
