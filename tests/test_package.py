import subprocess
import sys


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, otadet; print(sorted({'torch', 'cv2', 'onnx', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
