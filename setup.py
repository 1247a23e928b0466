"""Package metadata; pyproject.toml holds the build system and the tools' settings."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (root / "otadet/__init__.py").read_text(encoding="utf-8"))[1]

matching = ["scipy>=1.10"]
onnx = ["onnxruntime>=1.18", "onnxscript>=0.3"]
# The versions that otadet/evaluation/judge.py names.
fast_eval = ["faster-coco-eval>=1.7,<1.9"]
timm = ["timm>=1.0"]
test = [
    *matching,
    *onnx,
    "POT>=0.9.4",
    "hypothesis>=6.100",
    "mypy>=1.11",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
]
folders = ["ablation", "crowdhuman"]
readme = root / "README.md"

setup(
    name="otadet",
    version=version,
    description="Dense object detectors whose labels are assigned by Optimal Transport, exactly and fast",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # The experiments go along, so that `otadet train -f ota_fcos_r50` finds them.
    packages=[
        *find_packages(include=["otadet", "otadet.*"]),
        "otadet.exps",
        *(f"otadet.exps.{name}" for name in folders),
    ],
    package_dir={"otadet.exps": "exps", **{f"otadet.exps.{name}": f"exps/{name}" for name in folders}},
    package_data={"otadet": ["py.typed"]},
    entry_points={"console_scripts": ["otadet = otadet.cli:command"]},
    python_requires=">=3.10",
    install_requires=[
        "loguru>=0.7",
        "numpy>=1.24",
        "onnx>=1.16",
        # The same cv2 as opencv-python without its windows, and so without the system libraries that servers lack.
        "opencv-python-headless>=4.8",
        "pillow>=10.1",
        "pycocotools>=2.0.7",
        "pyyaml>=6.0",
        "torch>=2.6",
        "torchvision>=0.21",
    ],
    extras_require={
        "matching": matching,
        "onnx": onnx,
        "fast-eval": fast_eval,
        "timm": timm,
        "test": test,
        "all": [*test, *fast_eval, *timm, "tensorboard>=2.14"],
    },
)
