"""Published checkpoints of other programs, made otadet's."""
