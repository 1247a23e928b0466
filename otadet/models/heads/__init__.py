"""Heads: the feature maps of a pyramid to predictions."""
