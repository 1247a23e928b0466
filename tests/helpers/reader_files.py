"""Small files of YOLO, Pascal VOC and CrowdHuman, and texts that may take the place of what is in them."""

from __future__ import annotations

import json
from pathlib import Path

THOUSANDS = "\n".join(f"  {number}: kind {number}" for number in range(3000))
YOLO = {
    "data.yaml": "path: .\ntrain: train.txt\nval: [images]\nnc: 2\nnames: [ape, cow]\n",
    "train.txt": "./images/0.png\nimages/1.png\n",
    "labels/0.txt": "0 0.5 0.5 0.2 0.4\n1 0.1 0.2 0.5 0.2 0.3 0.6\n",
    "labels/1.txt": "1 .25 .5 .125 .5\n",
}
VOC = {
    "Annotations/0.xml": "<annotation><filename>0.png</filename><size><width>30</width><height>20</height></size>"
    "<object><name>ape</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>8</xmax><ymax>9</ymax>"
    "</bndbox></object><object><name>cow</name><bndbox><xmin>3.5</xmin><ymin>2</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    "</object></annotation>",
    "Annotations/1.xml": "<?xml version='1.0' encoding='utf-8'?><annotation><filename>1.png</filename></annotation>",
    "ImageSets/Main/train.txt": "0\n1 -1\n",
}
CROWDHUMAN = {
    "annotation_train.odgt": "\n".join(
        json.dumps(
            {
                "ID": str(number),
                "gtboxes": [
                    {
                        "tag": tag,
                        "fbox": [1, 2, 8, 9],
                        "hbox": [1, 2, 3, 3],
                        "vbox": [1, 2, 5, 5],
                        "extra": {"ignore": 0},
                    }
                    for tag in ("person", "mask")
                ],
            }
        )
        for number in range(2)
    ),
}
NUMBERS = ("0", "-1", "1.5", "2", "-.5", "1e300", "1e999", "nan", "inf", "9" * 20, "1_0", "0x1", ".5e-3", "-", "1,5")
TEXTS = (
    *NUMBERS,
    *(
        "",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\0",
        "\ufeff",
        "\u00e9",
        "\ud800",
        "\x1b[2J",
        "x" * 5000,
        "[" * 5000,
        "{",
        "}",
        "]",
    ),
    *(
        "../0.png",
        "/etc/passwd",
        "C:\\x",
        "\\",
        "#",
        "null",
        "true",
        "~",
        "*a",
        "&a",
        "<a>",
        "</object>",
        "<!DOCTYPE a>",
        "&a;",
    ),
    *("0 " * 7, "0 .5 .5 .1 .1 .9\n", '"ID"', '"ID": "0",', "names:\n" + THOUSANDS, ": ", "- ", "train: gone\n"),
)


def check_message(said: str, folder: Path) -> None:
    """Short, about a file of the folder, and fit for any terminal."""
    assert str(folder) in said
    assert len(said) < 3000
    assert not any(ord(character) < 32 and character != "\n" for character in said)
    said.encode()
