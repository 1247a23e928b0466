"""ONNX: export, comparison with PyTorch, and a predictor that runs the file."""

from otadet.export.exporter import ExportOptions, export_onnx
from otadet.export.metadata import OnnxMetadata
from otadet.export.onnx_predictor import OnnxPredictor

__all__ = ["ExportOptions", "OnnxMetadata", "OnnxPredictor", "export_onnx"]
