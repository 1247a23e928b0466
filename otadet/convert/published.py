"""Published checkpoints by name: where they are, and how they are known again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_MMDET = "https://download.openmmlab.com/mmdetection/v2.0/yolox"


@dataclass(frozen=True)
class Published:
    """A file of weights, trained on COCO."""

    address: str
    sha256: str
    """Of the file; where its authors tell no more than the first digits, in its name, these."""
    licence: str
    ap: float
    """As its authors say, on COCO's validation images, at the size below."""
    image_size: int
    """Side of the input, in pixels."""
    bytes: int | None = None
    """Of the file; None: nobody says."""

    @property
    def file_name(self) -> str:
        return self.address.rpartition("/")[2]


PUBLISHED: Mapping[str, Published] = {
    "yolox-nano": Published(
        f"{_YOLOX}/yolox_nano.pth",
        "cd28f55fbbc1829f99d9ac9b38a16d259a22889739c8728ea877610201feff7b",
        "Apache-2.0",
        0.258,
        416,
        7_694_953,
    ),
    "yolox-tiny-mmdet": Published(
        f"{_MMDET}/yolox_tiny_8x8_300e_coco/yolox_tiny_8x8_300e_coco_20210806_234250-4ff3b67e.pth",
        "4ff3b67e",
        "Apache-2.0",
        0.322,
        416,
    ),
    "yolox-s-mmdet": Published(
        f"{_MMDET}/yolox_s_8x8_300e_coco/yolox_s_8x8_300e_coco_20211110_150543-699b132f.pth",
        "699b132f",
        "Apache-2.0",
        0.405,
        640,
    ),
}
"""Those whose checksum is public."""


def cache_folder() -> Path:
    """Where files from the net are kept: `OTADET_CACHE`, or ~/.cache/otadet."""
    return Path(os.environ.get("OTADET_CACHE") or Path.home() / ".cache" / "otadet")


def is_published(name: object) -> bool:
    """Whether it is meant as a name of `PUBLISHED`, and no file is called so."""
    text = str(name)
    return text in PUBLISHED and not os.path.exists(text)
