import os
import pickle

import numpy as np
import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.voc import find_voc, read_voc
from otadet.errors import UserError


def thing(name="ape", box=(1, 1, 10, 20), **flags):
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
    )
    marks = "".join(f"<{key}>{value}</{key}>" for key, value in flags.items())
    return f"<object><name>{name}</name>{marks}<bndbox>{corners}</bndbox></object>"


def annotation(*objects, filename="a.jpg", size=(100, 50)):
    said = f"<filename>{filename}</filename>" if filename is not None else ""
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><folder>gone</folder>{said}{sides}{''.join(objects)}</annotation>"


DEVKIT = {
    "Annotations/a.xml": annotation(thing("cow"), thing("ape", (2.5, 3, 4, 5), truncated=1, difficult=1)),
    "Annotations/b.xml": annotation(thing("ape"), filename="b.jpg"),
    "Annotations/c.xml": annotation(filename="c.jpg"),
    **{f"JPEGImages/{name}.jpg": (100, 50) for name in "abc"},
    "ImageSets/Main/train.txt": "a\n b \n",
    "ImageSets/Main/val.txt": "c -1\r\n",
    "ImageSets/Main/cow_train.txt": "a  1\nb -1\n",
    "ImageSets/Main/test.txt": "",
}

PAIR = {"xml": annotation(), "jpg": (9, 9)}


def names(path):
    return {split: list(source.read().file_names) for split, source in find_voc(path).splits.items()}


def test_the_devkit(write_files):
    folder = write_files(DEVKIT)
    layout = find_voc(folder)
    assert (layout.format, layout.why) == ("VOC", "ImageSets (train, val)")
    assert names(folder) == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}
    train = pickle.loads(pickle.dumps(layout.splits["train"])).read()
    assert train.image_dir == folder / "JPEGImages"
    assert train.classes.names == ("ape", "cow")
    assert train.classes.boxes.tolist() == [2, 1]
    assert train.image_sizes.tolist() == [[50, 100]] * 2
    assert train.image_rows.tolist() == [0, 0, 1]
    assert train.class_rows.tolist() == [1, 0, 0]
    assert train.ignored.tolist() == [False, True, False]
    np.testing.assert_array_equal(train.boxes, [[0, 0, 10, 20], [1.5, 2, 4, 5], [0, 0, 10, 20]])
    assert train.dropped == ()
    counts = DetectionDataset(train).counts
    assert (counts.boxes, counts.ignored) == (2, 1)


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"a.xml": annotation(), "a.jpg": (9, 9)}, {"all": ["a.jpg"]}),
        ({"annotations/a.xml": annotation(), "images/a.png": (9, 9)}, {"all": ["a.png"]}),
        ({"annotations/x/a.xml": annotation(), "images/x/a.png": (9, 9)}, {"all": ["x/a.png"]}),
        ({"Annotations/a.xml": annotation(), "a.png": (9, 9)}, {"all": ["a.png"]}),
        (
            {"train/a.xml": annotation(), "train/a.jpg": (9, 9), "valid/b.xml": annotation(), "valid/b.jpg": (9, 9)},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            {
                "annotations/train/a.xml": annotation(),
                "annotations/test/b.xml": annotation(),
                "images/train/a.jpg": (9, 9),
                "images/test/b.jpg": (9, 9),
            },
            {"train": ["a.jpg"], "test": ["b.jpg"]},
        ),
        (
            {f"VOC2007/{name}": content for name, content in DEVKIT.items()},
            {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]},
        ),
        (
            {**DEVKIT, "ImageSets/Main/train.txt": "", "ImageSets/Main/trainval.txt": "a\nb"},
            {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]},
        ),
        (
            {**{k: v for k, v in DEVKIT.items() if "Sets" not in k}, "ImageSets/Main/default.txt": "a\nb"},
            {"all": ["a.jpg", "b.jpg"]},
        ),
        (
            {
                **{k: v for k, v in DEVKIT.items() if "Sets" not in k},
                "ImageSets/Main/Train.txt": "a\nb",
                "ImageSets/Main/Validation.txt": "c",
                "ImageSets/Main/cow_Train.txt": "a 1\nb -1",
            },
            {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]},
        ),
        (
            {
                **{k: v for k, v in DEVKIT.items() if "Sets" not in k},
                "ImageSets/Main/cow_train.txt": "a  1\nb -1",
                "ImageSets/Main/ape_train.txt": "a  1\nb  1",
                "ImageSets/Main/cow_trainval.txt": "a  1\nb -1\nc -1",
                "ImageSets/Main/cow_val.txt": "c -1",
            },
            {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]},
        ),
        (
            {
                **{k: v for k, v in DEVKIT.items() if "Sets" not in k},
                "ImageSets/Main/train2012.txt": "JPEGImages/a.jpg\n/home/me/voc/JPEGImages/b.jpg",
                "ImageSets/Main/val2012.txt": '"c" 1',
            },
            {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]},
        ),
        (
            {
                **{k: v for k, v in DEVKIT.items() if "Sets" not in k},
                "ImageSets/Main/train2012.txt": "a",
                "ImageSets/Main/val.txt": "c",
                "ImageSets/Main/cow_test.txt": "b -1",
                "ImageSets/Main/cow_val.txt": "c -1\na 1",
            },
            {"train": ["a.jpg"], "val": ["c.jpg"], "test": ["b.jpg"]},
        ),
        (
            {f"{name}.{end}": what for name in ("train2017/x/a", "valid/y/b") for end, what in PAIR.items()},
            {"train": ["x/a.jpg"], "val": ["y/b.jpg"]},
        ),
        ({"labels/a.xml": annotation(), "data/a.png": (9, 9)}, {"all": ["a.png"]}),
        ({"annots/a.xml": annotation(), "images/a.png": (9, 9), "masks/b.png": (9, 9)}, {"all": ["a.png"]}),
        ({"annotations/xmls/a.xml": annotation(), "images/a.jpg": (9, 9)}, {"all": ["a.jpg"]}),
        (
            {
                "annotations/train/a.xml": annotation(),
                "annotations/val/a.xml": annotation(),
                "train/a.jpg": (9, 9),
                "val/a.jpg": (9, 9),
            },
            {"train": ["a.jpg"], "val": ["a.jpg"]},
        ),
    ],
    ids=[
        *("flat", "two folders", "deep", "images above", "Roboflow", "splits below", "VOCdevkit", "trainval", "CVAT"),
        *(
            "CVAT's subsets",
            "lists per class alone",
            "lists of paths",
            "mixed lists",
            "deep splits",
            "FiftyOne",
            "another name",
            "deep XML alone",
        ),
        "images by split",
    ],
)
def test_other_folders(write_files, files, splits):
    assert names(write_files(files)) == splits


def test_no_voc(write_files, tmp_path):
    assert (
        find_voc(
            write_files(
                {"a.jpg": (9, 9), "b.xml": "<html/>", "annotations.xml": "<annotations/>", "annotations/a.json": "{}"}
            )
        )
        is None
    )
    assert find_voc(tmp_path / "b.xml") is None
    assert find_voc(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("filename", "images", "expected"),
    [
        (None, ["one.png"], "one.png"),
        ("", ["one.JPG"], "one.JPG"),
        ("photo", ["photo.png"], "photo.png"),
        ("photo.jpg", ["photo.png"], "photo.png"),
        ("photo.v2", ["photo.v2.png"], "photo.v2.png"),
        ("/home/me/photo.jpg", ["photo.jpg"], "photo.jpg"),
        (r"C:\me\photo.jpg", ["photo.jpg"], "photo.jpg"),
        ("photo.jpg", ["sub/photo.jpg"], "sub/photo.jpg"),
        ("photo.jpg", ["photo.jpg", "one.jpg"], "one.jpg"),
        ("one.png", ["one.jpg", "one.png"], "one.png"),
        ("../../photo.jpg", ["photo.jpg"], "photo.jpg"),
        ("photo.jpg", [], "photo.jpg"),
        (None, [], "one.jpg"),
    ],
)
def test_the_image_of_an_xml_file(write_files, filename, images, expected):
    folder = write_files(
        {"xml/one.xml": annotation(filename=filename), **{f"images/{name}": (9, 9) for name in images}}
    )
    (folder / "images").mkdir(exist_ok=True)
    assert list(read_voc(folder / "xml", folder / "images").file_names) == [os.path.join(*expected.split("/"))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (annotation(thing(box=(1, "x", 3, 4))), r"object\[0\]: ymin is 'x', not a number"),
        (annotation(thing(), thing(box=(1, "", 3, 4))), r"object\[1\]: ymin is '', not a number"),
        (annotation(thing(box=(1, "1_0", 3, 4))), r"object\[0\]: ymin is '1_0', not a number"),
        (annotation(thing(box=(1, 2, 3))), r"object\[0\]: its bndbox has no ymax"),
        (annotation("<object><name>ape</name></object>"), r"object\[0\]: has no bndbox"),
        (annotation("<object><name>ape</name><polygon><pt/></polygon></object>"), ".* export as Pascal VOC"),
        (annotation("<object><name>ape</name><robndbox/></object>"), r"object\[0\]: .* export upright boxes"),
        (annotation(thing().replace("</object>", "<bndbox/></object>")), r"object\[0\]: has 2 bndbox; expected is one"),
        (annotation(thing().replace("object>", "Object>")), "has a bndbox, but no object right in annotation"),
        (annotation(f"<objects>{thing()}</objects>"), "has a bndbox, but no object right in annotation"),
        (annotation(thing(" ")), r"object\[0\]: has no name"),
        (annotation(thing().replace("name", "label")), r"object\[0\]: has no name"),
        (annotation(thing("x" * 300)), r"object\[0\]: name .* has 300 characters"),
        (annotation(thing(difficult="perhaps")), r"object\[0\]: difficult is 'perhaps'"),
        (annotation(size=("wide", 5)), "size: width is 'wide', not a number"),
        (annotation(size=(1e30, 5)), "size: width is .* more than an image can have"),
        ("<annotations/>", "its outermost element is 'annotations'"),
        (annotation()[:-5], "not valid XML, perhaps cut short"),
    ],
)
def test_a_wrong_file_is_named(write_files, text, problem):
    folder = write_files({"a.xml": text, "a.jpg": (9, 9)})
    with pytest.raises(UserError, match=rf"a\.xml: {problem}"):
        read_voc(folder, folder)


@pytest.mark.parametrize("box", [("nan", 1, 2, 3), ("1e999", 1, 2, 3), (10, 10, 2, 2), (-50, -50, -9, -9), (1e30,) * 4])
def test_boxes_that_are_no_boxes_are_counted_by_the_data_set(write_files, box):
    folder = write_files({"a.xml": annotation(thing(), thing(box=box)), "a.jpg": (100, 50)})
    assert DetectionDataset(read_voc(folder, folder)).counts.degenerate == 1


def test_sizes_that_are_missing_are_those_of_the_files(write_files):
    folder = write_files({"a.xml": annotation(thing(), size=None), "a.jpg": (100, 50)})
    annotations = read_voc(folder, folder)
    assert annotations.image_sizes.tolist() == [[0, 0]]
    assert DetectionDataset(annotations).sizes.tolist() == [[50, 100]]


def test_what_is_left_out_is_counted(write_files):
    folder = write_files({**DEVKIT, "JPEGImages/d.jpg": (9, 9), "ImageSets/Main/train.txt": "a\na\nd.jpg\n"})
    train, every = find_voc(folder).splits["train"].read(), read_voc(folder / "Annotations", folder / "JPEGImages")
    assert list(train.file_names) == ["a.jpg", "d.jpg"]
    assert dict(train.dropped) == {
        "XML files in none of the lists left out": 1,
        "images without an XML file, taken as background": 1,
        "images listed twice, taken once": 1,
    }
    assert every.dropped == (("images without an XML file left out", 1),)


def test_lists_and_files_that_contradict_each_other(write_files):
    folder = write_files({**DEVKIT, "ImageSets/Main/train.txt": "a\n\ngone\n"})
    with pytest.raises(UserError, match=r"train\.txt: line 3: 'gone' has no XML file and no image"):
        names(folder)
    folder = write_files(
        {"x/1.xml": annotation(filename="a.jpg"), "x/2.xml": annotation(filename="a.png"), "x/a.jpg": (9, 9)}
    )
    with pytest.raises(UserError, match=r"2\.xml: is about the image a\.jpg, as .*1\.xml is"):
        read_voc(folder / "x", folder / "x")
    folder = write_files(
        {"VOC2007/Annotations/a.xml": annotation(), "VOC2012/Annotations/a.xml": annotation()}, folder / "two"
    )
    with pytest.raises(UserError, match="has 2 VOC data sets, VOC2007, VOC2012; name one"):
        find_voc(folder)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {f"Annotations/{name}.xml": annotation() for name in ("train/a", "val/b", "more/c", "d")},
            "Annotations/train/*.xml (not Annotations/more/*.xml and 1 more, which names no split)",
        ),
        (
            {f"{name}.xml": annotation() for name in ("train/a", "valid/b", "more/c")},
            "train/*.xml, valid/*.xml (not more/*.xml, which names no split)",
        ),
    ],
)
def test_files_beside_those_of_the_splits_are_said(write_files, files, why):
    folder = write_files({**files, **{name.replace(".xml", ".jpg"): (9, 9) for name in files}})
    assert find_voc(folder).why == why


def test_split_folders_where_none_are_looked_for_are_never_pooled(write_files):
    folder = write_files({f"Annotations/cam/{split}/{split}.xml": annotation() for split in ("train", "val")})
    with pytest.raises(
        UserError, match=r"Annotations/cam/train and Annotations/cam/val are called as splits.*too deep"
    ):
        find_voc(folder)


def test_masks_are_not_taken_for_images(write_files):
    files = {"annotations/a.xml": annotation(), "masks/a.png": (9, 9)}
    folder = write_files({**files, "rgb/a.jpg": (9, 9), "vis/b.jpg": (9, 9)})
    assert find_voc(folder).splits["all"].image_dir == folder / "rgb"
    write_files({"vis/a.jpg": (9, 9)})
    with pytest.raises(UserError, match=r"the images of annotations may be those in rgb or in vis; call .* JPEGImages"):
        find_voc(folder)
    (folder / "vis").rename(folder / "images")
    assert find_voc(folder).splits["all"].image_dir == folder / "images"


def test_a_list_of_no_split_is_said(write_files):
    files = {**{k: v for k, v in DEVKIT.items() if "Sets" not in k}, "ImageSets/Main/fold1.txt": "a"}
    assert find_voc(write_files(files)).why == "Annotations/*.xml (not ImageSets/Main/fold1.txt, which names no split)"


def test_names_in_quotes(write_files):
    folder = write_files({"Annotations/my a.xml": annotation(), "JPEGImages/my a.jpg": (9, 9)})
    write_files({"ImageSets/Main/default.txt": '"my a"\n', "ImageSets/Main/cow_default.txt": '"my a"  1\n'})
    assert names(folder) == {"all": ["my a.jpg"]}


def test_unknown_classes_are_listed_in_one_error(write_files):
    objects = [thing(f"kind {number}") for number in range(60) for _ in range(number % 2 + 1)]
    folder = write_files({"a.xml": annotation(thing("ape"), *objects), "a.jpg": (100, 50)})
    with pytest.raises(UserError) as raised:
        DetectionDataset(read_voc(folder, folder), class_names=["ape"])
    assert all(f"kind {number} ({number % 2 + 1})" in str(raised.value) for number in range(60))


def test_a_split_without_objects_says_so(write_files):
    with pytest.raises(UserError, match="its 1 images have no object"):
        DetectionDataset(find_voc(write_files(DEVKIT)).splits["val"].read()).check_trainable()
