"""Write a data set in another format, with its images: COCO, YOLO or Pascal VOC, from any that otadet reads.

otadet convert-data datasets/aquarium datasets/aquarium-coco --to coco
otadet convert-data datasets/mine datasets/mine-yolo --to yolo --link

All splits are written. Boxes are not changed, except that no file has those of no size or outside their image; what the
other format cannot hold is said.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence

from otadet.apps.arguments import say
from otadet.command_line import Parser, as_path
from otadet.names import one_agrees

FORMATS = ("coco", "yolo", "voc")


def parser() -> ArgumentParser:
    made = Parser(description=__doc__)
    made.add_argument(
        "source", type=as_path, metavar="SRC", help="the folder of the data, or the file that describes them"
    )
    made.add_argument(
        "target", type=as_path, metavar="DST", help="the folder to write, which must not exist, or be empty"
    )
    made.add_argument("--to", required=True, choices=FORMATS, help="the format to write")
    made.add_argument("--from", dest="format", default="auto", metavar="FORMAT", help="that of SRC, where it fits two")
    made.add_argument("--link", action="store_true", help="hard links to the images in place of copies, where possible")
    made.add_argument("--skip-unreadable", action="store_true", help="leave out images that are missing or damaged")
    made.add_argument("--outside-images", action="store_true", help="images may lie out of SRC")
    made.add_argument("--boxes", choices=("full", "visible", "head"), help="of CrowdHuman which; default: full")
    made.add_argument("--json", action="store_true", help="print what was written as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    from otadet.data.formats.convert import convert
    from otadet.data.formats.detect import FindOptions, find_data
    from otadet.data.image_file import shown
    from otadet.errors import UserError

    options = FindOptions(outside_images=args.outside_images, boxes=args.boxes or "full")
    layout = find_data(args.source, args.format, options)
    if args.boxes is not None and layout.format != "CrowdHuman":
        raise UserError(f"--boxes {args.boxes}: {args.source} is {layout.format}, and has one kind of boxes; omit it")
    source = args.source if args.source.is_dir() else args.source.parent
    if source.resolve() in (args.target.resolve(), *args.target.resolve().parents):
        raise UserError(f"{args.target}: lies in {source}, which would then hold the data twice; name another folder")
    splits = one_agrees(f"{len(layout.splits)} splits")
    say(f"{layout.format}: {layout.why}, {splits} ({', '.join(layout.splits)})", args.json)
    unreadable = "skip" if args.skip_unreadable else "fail"
    done = convert(layout, args.target, args.to, link=args.link, unreadable=unreadable)
    for split, summary in done.summaries.items():
        say(f"{split}: {summary}", args.json)
    for what, count in done.lost.items():
        say(one_agrees(f"{count} {what}"), args.json)
    if done.copied:
        say(f"{done.copied} images copied, which could not be linked", args.json)
    if done.renamed:
        old, new = map(shown, done.renamed[0])
        say(one_agrees(f"{len(done.renamed)} images renamed, such as {old}, which is {new}"), args.json)
    say(f"written: {args.target} ({args.to})", args.json)
    if args.json:
        print(
            json.dumps(
                {
                    "target": str(args.target),
                    "splits": dict(done.summaries),
                    "lost": dict(done.lost),
                    "renamed": dict(done.renamed),
                }
            )
        )
