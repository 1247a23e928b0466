"""The part that says how a training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from otadet.engine.columns import PLACE
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part

SCORES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "MR", "recall", "JI")
"""What is logged of the evaluations: COCO's AP to AR100, CrowdHuman's MR, AP, recall and JI."""
MOST_IMAGES = 65_536
"""Of a step; more is a slip of the hand."""
_COUNT = Limits(0, 10**9, open_low=True)


@dataclass(frozen=True)
class Run(Part):
    """Batches, precision and randomness of a training, and what it does on its way."""

    batch_size: Annotated[int, Limits(0, MOST_IMAGES, open_low=True)] = 16
    """Images that are computed at once, over all devices; those of one iteration, unless it is of several batches."""
    workers: Annotated[int, Limits(0, 1024)] = 4
    """Loader processes per device."""
    accumulate: Annotated[int, Limits(0, MOST_IMAGES, open_low=True)] = 1
    """Batches of one iteration, whose gradients are added up: the training is the one with a `batch_size` that many
    times as large, but for rounding and for batch norms, which see one batch at a time."""
    auto_batch: bool = False
    """Whether `batch_size` is lowered, and `accumulate` raised by the same factor, until the largest images and the
    most crowded ones fit into the memory; `batch_size auto` on the command line."""
    group_by_aspect: bool = True
    """The images of one device's batch are all wide or all tall, so that less of it is padding."""
    reduced_decoding: Literal["off", "train", "all"] = "train"
    """Decode images at 1/2, 1/4 or 1/8 of their size where the input is no larger than that: in training, or in
    evaluation as well. There, the AP changes a little."""
    cache: Literal["none", "memory", "disk"] = "none"
    """Keep the training set's decoded images: in memory, once per machine, or in a folder, for the next runs as well.
    The batches are the same. What does not fit is decoded each time."""
    cache_folder: str | None = None
    """Of `cache disk`; None: datasets/cache."""
    cache_gb: Annotated[float, Limits(0, 10**6, open_low=True)] | None = None
    """Largest size of the cache; None: four fifths of the memory, or of the disk, that is free."""
    amp: bool = False
    """Mixed precision where the hardware gains by it; elsewhere fp32."""
    amp_dtype: Literal["fp16", "bf16"] | None = None
    """With amp: what the network computes in; None: what the device is best at."""
    ema: Annotated[float, Limits(0, 1, open_high=True)] | None = None
    """Decay of the averaged weights; None: there are none."""
    grad_clip: Annotated[float, Limits(0, 1e30, open_low=True)] | None = None
    """Largest norm of the gradient."""
    freeze: tuple[Literal["backbone", "neck", "head"], ...] = ()
    """Parts of the network that keep the weights, and the batch norms' statistics, that they start with: `run.freeze
    backbone,neck`."""
    freeze_norms: bool = False
    """Whether all batch norms keep the statistics that they start with, and are applied with them: for small batches of
    a network that is trained already."""
    seed: Annotated[int, Limits(0, 2**62)] = 0
    """Added to the number of the process, and handed to generators of 64 bits."""
    eval_every: Annotated[float, Limits(0, 10**6)] = 1.0
    """Epochs; 0 evaluates at the end only."""
    log_every: Annotated[int, _COUNT] = 20
    """Iterations."""
    save_every: Annotated[int, _COUNT] = 1000
    """Iterations between two last.pth, beside those at evaluations and at the end."""
    best_by: str | None = None
    """The column of metrics.csv that decides which of the checkpoints at evaluations is best.pth: a score, or `loss`,
    one of its terms and the like, of which it is the mean since the last row. Losses, MR and milliseconds are the
    better the lower they are, all else the higher. None: AP, or MR where the data are CrowdHuman's."""
    patience: Annotated[int, _COUNT] | None = None
    """The training ends early after so many evaluations in a row whose value of `best_by` is no better; None: it does
    not."""
    process_timeout: Annotated[float, Limits(1, 10**6)] = 300.0
    """Seconds without a sign of life after which a process of torchrun's counts as gone."""

    @property
    def images_per_step(self) -> int:
        """Images of one iteration, that is of one step of the optimizer, over all devices."""
        return self.batch_size * self.accumulate

    def check(self) -> None:
        if self.images_per_step > MOST_IMAGES:
            raise UserError(
                f"accumulate {self.accumulate}: with batch_size {self.batch_size} a step would have "
                f"{self.images_per_step:,} images; {MOST_IMAGES:,} are the most"
            )
        if self.best_by in PLACE:
            raise UserError(f"best_by {self.best_by}: says where a training is, not how good it is")
        if self.cache == "none" and self.cache_gb is not None:
            raise UserError(f"cache_gb {self.cache_gb:g}: there is no cache; set cache memory or disk, too")
        if self.cache != "disk" and self.cache_folder is not None:
            raise UserError(f"cache_folder {self.cache_folder}: is of a cache on disk alone; set cache disk, too")
        if self.patience is not None and not self.eval_every:
            raise UserError(f"patience {self.patience}: eval_every 0 evaluates at the end only; set eval_every, too")
        if self.amp_dtype is not None and not self.amp:
            raise UserError(f"amp_dtype {self.amp_dtype}: has a say in mixed precision alone; set amp true, too")
