"""ONNX: export, comparison with PyTorch, and a predictor that runs the file."""

from otadet.export.exporter import ExportOptions, export_onnx
from otadet.export.metadata import OnnxMetadata
from otadet.export.onnx_pipeline import OnnxPipeline
from otadet.export.onnx_predictor import OnnxPredictor

__all__ = ["ExportOptions", "OnnxMetadata", "OnnxPipeline", "OnnxPredictor", "export_onnx"]
