"""Export a trained detector to one ONNX file, which is compared with PyTorch before it appears.

python tools/export_onnx.py -f exps/quickstart.py -c runs/quickstart/best.pth --nms

Input: images (N, 3, H, W), float32 RGB, (pixel - mean) / std. Outputs: boxes (N, A, 4) and scores (N, A, C) of all
anchors, and class_scores (N, A, C) where the experiment ranks by them; with --nms boxes (M, 4), scores (M,), labels
(M,) and image (M,) of the M detections. Everything needed to use the file is in its metadata; demo/onnx_numpy.py does
so with ONNX Runtime and numpy.

The input has the size of the experiment's letterbox. Where the experiment resizes the shortest edge instead, the input
holds landscape pictures; others are shrunk to fit, and all are padded to its full size, to which the network is not
indifferent. --dynamic-size takes every picture exactly as the experiment does.
"""

from __future__ import annotations

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

from argparse import Namespace
from pathlib import Path

from otadet.cli import experiment_parser, load_experiment, pick_device, run_tool


def parse_args() -> Namespace:
    parser = experiment_parser(__doc__)
    parser.add_argument("-c", "--checkpoint", required=True, type=Path, metavar="CKPT")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: the checkpoint's name, ending in .onnx")
    parser.add_argument("--opset", type=int, default=18, metavar="N", help="18 or later; default: 18")
    parser.add_argument("--dynamic-batch", action="store_true", help="any number of images instead of 1")
    parser.add_argument(
        "--dynamic-size",
        action="store_true",
        help="any height and width that the network takes: multiples of its size divisor, 32 for a ResNet",
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the input; default: the experiment's")
    parser.add_argument("--nms", action="store_true", help="detections instead of the outputs of all anchors")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    # PyTorch takes seconds to import; --help and misspelt options should not.
    from otadet.exp import load_pipeline
    from otadet.export import ExportOptions, export_onnx

    exp = load_experiment(args)
    device = pick_device(args.device)
    pipeline = load_pipeline(exp, args.checkpoint, exp.class_names).to(device)
    output = args.output or args.checkpoint.with_suffix(".onnx")
    options = ExportOptions(
        opset=args.opset,
        dynamic_batch=args.dynamic_batch,
        dynamic_size=args.dynamic_size,
        nms=args.nms,
        size=tuple(args.size) if args.size else None,
    )
    export_onnx(pipeline, output, options, experiment=exp.name)
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_tool(main)
