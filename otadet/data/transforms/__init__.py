"""Random and fixed changes of an image together with its boxes.

A transform is called with a `Sample` and a random generator and returns a new `Sample`; it keeps no state, so the same
generator gives the same result. Boxes and ignored regions leave every transform inside the image, none of them
degenerate, all of them that there are: their number is never limited. torchvision's transforms are not used: they draw
from the global generator, and a training could not be resumed exactly.

One of yours moves `boxes` and `ignored` along with the image. It need not have more than a call; it may have

* `output_size(height, width)`, where it knows the size of its result beforehand, by which images of one size are found
  before they are read;
* `others`, a number: that many other samples are drawn from the generator, and passed as a third argument, untouched by
  the transforms before it, and read when it looks at them;
* `for_batch(rng)`: what it is in one batch, where something is drawn for all its images at once;
* `needed_size(height, width)`: the size that it brings an image of that size to at the most, or the others, where it
  needs some; files that are far larger are decoded smaller then. Only the first that resizes, and those that need
  others, are asked; where one of them does not say, images are decoded whole.

In a list `Mosaic` comes first, then `MixUp` and `CopyPaste`, then what moves the picture, then colours. Those that take
others bring them to the sample's size themselves. What of a box is cut off or covered counts alike everywhere:
`min_visible` is the share of its area below which it goes, `hidden` whether its rest becomes a region to ignore.
"""

from otadet.data.sample import MixingTransform, Sample, TrainTransform, Transform
from otadet.data.transforms.affine import RandomAffine
from otadet.data.transforms.color import ColorJitter, PhotometricDistortion, RandomHSV
from otadet.data.transforms.compose import Compose, Until
from otadet.data.transforms.copy_paste import CopyPaste
from otadet.data.transforms.crop import RandomIoUCrop
from otadet.data.transforms.geometry import (
    FitInto,
    Letterbox,
    RandomFlip,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
)
from otadet.data.transforms.mosaic import MixUp, Mosaic
from otadet.data.transforms.multi_scale import MultiScale

__all__ = [
    "ColorJitter",
    "Compose",
    "CopyPaste",
    "FitInto",
    "Letterbox",
    "MixUp",
    "MixingTransform",
    "Mosaic",
    "MultiScale",
    "PhotometricDistortion",
    "RandomAffine",
    "RandomFlip",
    "RandomHSV",
    "RandomIoUCrop",
    "RandomTranspose",
    "RandomZoom",
    "ResizeShortestEdge",
    "Sample",
    "TrainTransform",
    "Transform",
    "Until",
]
