"""Names that fields had before experiments held parts, and some that other programs give them."""

from __future__ import annotations

OLDER_NAMES = {
    "data_dir": "data.folder",
    "train_sizes": "train_resize",
    "test_size": "input.resize",
    "letterbox": "input.resize",
    "flip": "augment.0.horizontal",
    "steps": "schedule.at",
    "warmup_iterations": "schedule.warmup",
    "max_iterations": "length",
    "max_epochs": "length",
    "epochs": "length",
    "learning_rate": "optimizer.lr",
}
"""Those that have another name now -> the path of what has their place. All others kept theirs."""
_EXAMPLES = {
    "data_dir": "data FOLDER",
    "train_sizes": "train_resize 640,800/1333",
    "test_size": "input.resize 800/1333",
    "letterbox": "input.resize 640x640",
    "max_iterations": "length 9000iterations",
    "max_epochs": "length 12epochs",
    "epochs": "length 12epochs",
    "warmup_iterations": "schedule.warmup 500",
    "steps": "schedule.at 0.67,0.89",
}


def what_became_of(name: str) -> str:
    """`"it has ... in its place"` for an older name, or an empty string."""
    if name not in OLDER_NAMES:
        return ""
    example = f", such as `{_EXAMPLES[name]}`" if name in _EXAMPLES else ""
    return f"it has {OLDER_NAMES[name]} in its place{example}"
