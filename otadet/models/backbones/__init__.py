"""Backbones: an image to feature maps of several strides."""
