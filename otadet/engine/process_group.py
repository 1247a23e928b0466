"""The group through which the processes of a training talk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

_PATIENCE = timedelta(hours=12)
"""How long an operation waits for processes that are alive: one may read all images, or evaluate, while others wait."""


@contextmanager
def process_group(device: torch.device, local_rank: int, **options: Any) -> Iterator[torch.device]:
    """The process group, and the device of this process in it. Left in order only where nothing failed."""
    cuda = device.type == "cuda"
    if cuda:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    # Python objects (detections, scores) travel between the hosts, so gloo is there besides nccl.
    nccl = cuda and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=_PATIENCE, **options)
    yield device
    dist.destroy_process_group()
