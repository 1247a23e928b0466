"""Published checkpoints by name: where they are, and how they are known again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from otadet.download import cache_folder, fetch
from otadet.errors import did_you_mean

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_TORCHVISION = "https://download.pytorch.org/models"
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
    """Side of the input, in pixels; the shorter one, where the aspect ratio is kept."""
    bytes: int | None = None
    """Of the file; None: nobody says."""
    norm_eps: float | None = None
    """Of its batch norms, where that is another than the program's own."""
    model: str = ""
    """The word of an experiment that stands for its layout, as in `model yolox_nano`."""

    @property
    def file_name(self) -> str:
        return self.address.rpartition("/")[2]


def _yolox(file: str, sha256: str, ap: float, image_size: int, size: int) -> Published:
    return Published(f"{_YOLOX}/{file}.pth", sha256, "Apache-2.0", ap, image_size, size, model=file)


def _mmdet(layout: str, date: str, digits: str, ap: float, image_size: int) -> Published:
    run = f"yolox_{layout}_8x8_300e_coco"
    return Published(
        f"{_MMDET}/{run}/{run}_{date}-{digits}.pth", digits, "Apache-2.0", ap, image_size, model=f"yolox_{layout}"
    )


def _torchvision(file: str, digits: str, ap: float, model: str, norm_eps: float | None = None) -> Published:
    address = f"{_TORCHVISION}/{file}_coco-{digits}.pth"
    return Published(address, digits, "BSD-3-Clause", ap, image_size=800, norm_eps=norm_eps, model=model)


PUBLISHED: Mapping[str, Published] = {
    "yolox-nano": _yolox(
        "yolox_nano", "cd28f55fbbc1829f99d9ac9b38a16d259a22889739c8728ea877610201feff7b", 0.258, 416, 7_694_953
    ),
    "yolox-tiny": _yolox(
        "yolox_tiny", "9de513de589ac98bb92d3bca53b5af7b9acfa9b0bacb831f7999d0f7afaee8f0", 0.328, 416, 40_755_013
    ),
    "yolox-s": _yolox(
        "yolox_s", "f55ded7181e1b0c13285c56e7790b8f0e8f8db590fe4edb37f0b7f345c913a30", 0.405, 640, 72_089_125
    ),
    "yolox-m": _yolox(
        "yolox_m", "60076992b32da82951c90cfa7bd6ab70eba9eda243e08b940a396f60ac2d19b6", 0.469, 640, 203_114_461
    ),
    "yolox-l": _yolox(
        "yolox_l", "1e6b7fa6240375370b2a8a8eab9066b3cdd43fd1d0bfa8d2027fd3a51def2917", 0.497, 640, 434_357_141
    ),
    "yolox-x": _yolox(
        "yolox_x", "5652330b6ae860043f091b8f550a60c10e1129f416edfdb65c259be6caf355cf", 0.511, 640, 793_463_373
    ),
    "yolox-tiny-mmdet": _mmdet("tiny", "20211124_171234", "b4047906", 0.320, 416),
    "yolox-s-mmdet": _mmdet("s", "20211121_095711", "4592a793", 0.405, 640),
    "yolox-l-mmdet": _mmdet("l", "20211126_140236", "d3bd2b23", 0.494, 640),
    "yolox-x-mmdet": _mmdet("x", "20211126_140254", "1ef88d67", 0.509, 640),
    "torchvision-fcos-r50": _torchvision("fcos_resnet50_fpn", "99b0c9b7", 0.392, "fcos_torchvision"),
    # torchvision sets this eps when it loads this very file.
    "torchvision-retinanet-r50": _torchvision(
        "retinanet_resnet50_fpn", "eeacb38b", 0.364, "retinanet_torchvision", norm_eps=0.0
    ),
    "torchvision-retinanet-r50-v2": _torchvision(
        "retinanet_resnet50_fpn_v2", "5905b1c5", 0.415, "retinanet_torchvision_v2"
    ),
}
"""Those whose checksum is public. YOLOX's authors tell none; these are what others who keep the files say of them."""


def fetch_published(name: str) -> Path:
    """The file of that name of `PUBLISHED`, in the cache folder. Raises `UserError` as `fetch` does."""
    one = PUBLISHED[name]
    return fetch(one.address, cache_folder() / one.file_name, one.sha256, one.bytes)


def norm_eps_of(digest: str) -> float | None:
    """`norm_eps` of the published file with that SHA-256; None for any other file."""
    return next((one.norm_eps for one in PUBLISHED.values() if digest.startswith(one.sha256)), None)


def is_published(name: object) -> bool:
    """Whether it is meant as a name of `PUBLISHED`, and no file is called so."""
    text = str(name)
    return text in PUBLISHED and not os.path.isfile(text)


def meant_name(text: str) -> str:
    """What to say where `text` is neither a file nor one of `PUBLISHED`, but like one of these; "" for a path."""
    name = os.path.basename(text)
    alike = name.removesuffix(".pth").lower().replace("_", "-")
    if alike in PUBLISHED:
        return f"; the published one is called {alike}"
    if name != text or "." in name:
        return ""
    return f"; the published ones are {', '.join(PUBLISHED)}{did_you_mean(alike, PUBLISHED)}"
