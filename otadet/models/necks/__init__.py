"""Necks: the feature maps of a backbone to those of a pyramid."""
