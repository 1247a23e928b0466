"""Export a trained detector to one ONNX file, which is compared with PyTorch before it appears.

otadet export -c runs/quickstart/best.pth --nms

Input: images (N, 3, H, W), float32 RGB, (pixel - mean) / std. Outputs: boxes (N, A, 4) and scores (N, A, C) of all
anchors, and class_scores (N, A, C) where the experiment ranks by them; with --nms boxes (D, 4), scores (D,), labels
(D,) and image (D,) of the D detections. Everything needed to use the file is in its metadata; demo/onnx_numpy.py does
so with ONNX Runtime and numpy.

The input has the size of the experiment's letterbox. Where the experiment resizes the shortest edge instead, the input
holds landscape pictures; others are shrunk to fit, and all are padded to its full size, to which the network is not
indifferent. --dynamic-size takes every picture exactly as the experiment does.

Without -f the experiment is the one that the checkpoint describes.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial

from otadet.apps.arguments import experiment_parser, load_trained, parse, pick_device, say
from otadet.command_line import as_path

NEEDED = ("input", "model", "postprocess", "data.class_names", "data.num_classes")
"""Parts of the experiment that an exported file is made of, and single fields."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c", "--checkpoint", required=True, type=as_path, metavar="CKPT", help="its file, or a published name"
    )
    made.add_argument("--output", type=as_path, metavar="FILE", help="default: the checkpoint's name, ending in .onnx")
    made.add_argument("--opset", type=int, default=18, metavar="N", help="18 or later; default: 18")
    made.add_argument("--dynamic-batch", action="store_true", help="any number of images instead of 1")
    made.add_argument(
        "--dynamic-size",
        action="store_true",
        help="any height and width that the network takes: multiples of its size divisor, 32 for a ResNet",
    )
    made.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the input; default: the experiment's")
    made.add_argument("--nms", action="store_true", help="detections instead of the outputs of all anchors")
    made.add_argument("--json", action="store_true", help="print the file and its metadata as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    # PyTorch takes seconds to import; --help and misspelt options should not.
    from otadet.apps.onnx_file import is_onnx
    from otadet.apps.outputs import check_outputs
    from otadet.engine.content import is_of_training
    from otadet.errors import UserError
    from otadet.exp import load_pipeline
    from otadet.export import ExportOptions, export_onnx
    from otadet.files import is_special

    # Of a published name: here, not in the cache.
    output = args.output or args.checkpoint.with_suffix(".onnx")
    if is_onnx(args.checkpoint):
        raise UserError(f"-c {args.checkpoint}: is called an ONNX file; give the checkpoint that it is to be made of")
    check_outputs({"--output": output}, [args.checkpoint, args.exp])
    if not is_onnx(output) and not is_special(output):
        raise UserError(f"--output {output}: its name must end in .onnx, by which otadet knows such files")
    exp, state = load_trained(args, NEEDED)
    device = pick_device(args.device)
    pipeline = load_pipeline(exp, args.checkpoint, exp.data.class_names, state=state).to(device)
    options = ExportOptions(
        opset=args.opset,
        dynamic_batch=args.dynamic_batch,
        dynamic_size=args.dynamic_size,
        nms=args.nms,
        size=tuple(args.size) if args.size else None,
    )
    report = partial(say, as_json=args.json)
    metadata = export_onnx(
        pipeline, output, options, experiment=exp.name, from_training=is_of_training(state), report=report
    )
    size = output.stat().st_size
    if args.json:
        print(json.dumps({"file": str(output), "bytes": size, "metadata": metadata.to_plain()}, ensure_ascii=False))
    else:
        print(f"wrote {output} ({size / 1e6:.1f} MB)")
