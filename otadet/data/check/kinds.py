"""All that the check may find. Ids are stable; `docs/check.md` has the same table."""

from __future__ import annotations

from otadet.data.check.finding import Kind

# Of a whole split.
SPLIT_UNREADABLE = Kind(
    *("split-unreadable", "error", "The annotations of a split contradict themselves or cannot be read."),
    "correct the file where the message says",
)
ENTRY_BROKEN = Kind(
    *(
        "entry-broken",
        "error",
        "A line or object of the annotations is wrong, or a file of them; a training stops there.",
    ),
    "correct or remove each of them; all are listed with --json, or with --list N",
)
SPLIT_NO_BOXES = Kind(
    *("split-no-boxes", "error", "A split has no box to train on or to measure with."),
    "check that it is the right annotation file, and that its boxes are in it",
)
SPLIT_SMALL = Kind(
    *("split-small", "note", "So few images that results vary by chance."),
    "annotate more, and compare results of several seeds",
)
SPLIT_GROUPS = Kind(
    *("split-groups", "warning", "Files whose names say that they belong together are in different splits."),
    "split by clip, patient or place, not by picture: keep each group in one split",
)
READER_DROPPED = Kind(
    *("reader-dropped", "note", "The reader left something out, or repaired it."),
    "look whether that is meant",
)

# Of image files.
IMAGE_MISSING = Kind(
    *("image-missing", "error", "An annotated image file is not there."),
    "restore the file, correct its name in the annotations, or remove the image from them",
)
IMAGE_UNREADABLE = Kind(
    *("image-unreadable", "error", "An image file is damaged, cut short, too large, or no image."),
    "copy or export the file again, or remove it from the annotations",
)
IMAGE_SIZE = Kind(
    *("image-size", "error", "An image file is not of the size that its boxes were drawn for."),
    "use the files that were annotated, or scale the boxes along with the pictures",
)
IMAGE_LISTED_TWICE = Kind(
    *("image-listed-twice", "error", "A split has two entries for the same image file."),
    "merge the entries, so that the image has all of its boxes once",
)
IMAGE_IN_TWO_SPLITS = Kind(
    *("image-in-two-splits", "error", "The same file, by name or by content, is trained on and measured with."),
    "remove it from the training split; results are too good as long as it is in both",
)
IMAGE_ALIKE_IN_TWO_SPLITS = Kind(
    *("image-alike-in-two-splits", "warning", "Nearly the same picture is trained on and measured with."),
    "keep copies, re-encoded pictures and neighbouring frames in one split; nothing where different scenes look so",
)
IMAGE_TWICE = Kind(
    *("image-twice", "warning", "Two files of one split have the same content."),
    "remove one, and keep the better boxes",
)
IMAGE_ALIKE = Kind(
    *("image-alike", "note", "Nearly the same picture is several times in one split."),
    "keep fewer of them if they are copies; leave them if they are frames of a clip",
)
IMAGE_ROTATED = Kind(
    *("image-rotated", "warning", "An EXIF orientation turns the picture for people, but not for the training."),
    "look at the sheet, which has them upright, too: where the boxes fit that, set data.exif_orientation true",
)
IMAGE_UNLISTED = Kind(
    *("image-unlisted", "warning", "An image file lies beside annotated ones, but no split has it."),
    "annotate it, list it as an image without boxes, or remove it",
)
IMAGE_BLANK = Kind(
    *("image-blank", "warning", "A picture is of one colour."),
    "remove it, unless such pictures come later",
)
IMAGE_BITS = Kind(
    *("image-bits", "warning", "16-bit pictures use another range of values than is assumed."),
    "set input.image_bits as the message says",
)

# Of boxes.
BOX_DEGENERATE = Kind(
    *("box-degenerate", "error", "A box has no width or height, or a coordinate that is no number."),
    "draw it again or remove it; until then it is dropped",
)
BOX_OUTSIDE = Kind(
    *("box-outside", "error", "A box lies wholly outside its image."),
    "look whether boxes are in pixels of this very file, as x, y, width, height or as corners; it is dropped",
)
BOX_OVER_EDGE = Kind(
    *("box-over-edge", "warning", "A box reaches more than a pixel past its image."),
    "nothing where objects are cut by the edge, as boxes are clipped; otherwise correct them",
)
BOX_TWICE = Kind(
    *("box-twice", "warning", "An object has two boxes of its class that are nearly the same (IoU above 0.95)."),
    "remove one",
)
BOX_OF_TWO_CLASSES = Kind(
    *("box-of-two-classes", "warning", "Nearly the same box has two classes (IoU above 0.95)."),
    "decide for one, unless objects have several classes on purpose",
)
BOX_REPEATED = Kind(
    *("box-repeated", "warning", "The very same box is in many images."),
    "look at the sheet: boxes that were copied, or made by a default, are to be removed",
)
BOX_TINY = Kind(
    *("box-tiny", "warning", "A box has a side below 2 pixels of its picture: mostly a slip of the mouse."),
    "remove it, or draw it again",
)
BOX_HUGE = Kind(
    *("box-huge", "note", "A box covers more than 95 % of its picture."),
    "nothing where the object does fill it; a class of the whole picture is no box",
)
BOX_THIN = Kind(
    *("box-thin", "note", "A box is more than ten times as long as it is wide."),
    "nothing where objects are so; few anchor points lie in such a box",
)
BOX_SMALL = Kind(
    *(
        "box-small",
        "warning",
        "More than 10 % of the boxes are below 8 px, one cell of the finest level, at the size that is trained at.",
    ),
    "train at a larger size, or on tiles",
)

# Of classes.
LABEL_UNKNOWN = Kind(
    *("label-unknown", "error", "Boxes are of a class that their file, or the training split, does not list."),
    "list the class, or correct the boxes; name classes alike in all splits",
)
LABEL_UNTRAINED = Kind(
    *("label-untrained", "error", "A split has boxes of a class that the training split lists, but has no box of."),
    "move some of its images into the training split",
)
LABEL_UNMEASURED = Kind(
    *("label-unmeasured", "warning", "A class is trained, but the validation split has no box of it."),
    "move some of its images into the validation split; its AP is not measured",
)
LABEL_UNUSED = Kind(
    *("label-unused", "warning", "A class is listed, but no split has a box of it."),
    "remove it from the list, or annotate it",
)
LABEL_ALIKE = Kind(
    *("label-alike", "warning", "Names of classes differ by case, spaces or punctuation alone."),
    "rename one, so that they are one class",
)
LABEL_RARE = Kind(
    *("label-rare", "warning", "A class has fewer than 10 boxes to train on."),
    "annotate more of it, or leave the class out",
)
LABEL_ONLY_ONE = Kind(
    *("label-only-one", "note", "All boxes are of one class."),
    "nothing where that is meant",
)

KINDS: tuple[Kind, ...] = (
    *(SPLIT_UNREADABLE, ENTRY_BROKEN, SPLIT_NO_BOXES, SPLIT_SMALL, SPLIT_GROUPS, READER_DROPPED),
    *(IMAGE_MISSING, IMAGE_UNREADABLE, IMAGE_SIZE, IMAGE_LISTED_TWICE, IMAGE_IN_TWO_SPLITS, IMAGE_ALIKE_IN_TWO_SPLITS),
    *(IMAGE_TWICE, IMAGE_ALIKE, IMAGE_ROTATED, IMAGE_UNLISTED, IMAGE_BLANK, IMAGE_BITS),
    *(BOX_DEGENERATE, BOX_OUTSIDE, BOX_OVER_EDGE, BOX_TWICE, BOX_OF_TWO_CLASSES, BOX_REPEATED),
    *(BOX_TINY, BOX_HUGE, BOX_THIN, BOX_SMALL),
    *(LABEL_UNKNOWN, LABEL_UNTRAINED, LABEL_UNMEASURED, LABEL_UNUSED, LABEL_ALIKE, LABEL_RARE, LABEL_ONLY_ONE),
)
"""In the order of the report within a severity."""
