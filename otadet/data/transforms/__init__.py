"""Random and fixed changes of an image together with its boxes.

A transform is called with a `Sample` and a random generator and returns a new `Sample`; it keeps no state, so the same
generator gives the same result. Boxes and ignored regions leave every transform inside the image, none of them
degenerate, all of them that there are: their number is never limited. torchvision's transforms are not used: they draw
from the global generator, and a training could not be resumed exactly.

One of yours moves `boxes` and `ignored` along with the image. It need not have more than a call; it may have

* `output_size(height, width)`, where it knows the size of its result beforehand, by which images of one size are found
  before they are read;
* `others`, a number: that many other samples are drawn from the generator, read, and passed as a third argument.
"""

from otadet.data.sample import MixingTransform, Sample, TrainTransform, Transform
from otadet.data.transforms.color import ColorJitter
from otadet.data.transforms.compose import Compose, Until
from otadet.data.transforms.geometry import (
    FitInto,
    Letterbox,
    RandomFlip,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
)

__all__ = [
    "ColorJitter",
    "Compose",
    "FitInto",
    "Letterbox",
    "MixingTransform",
    "RandomFlip",
    "RandomTranspose",
    "RandomZoom",
    "ResizeShortestEdge",
    "Sample",
    "TrainTransform",
    "Transform",
    "Until",
]
