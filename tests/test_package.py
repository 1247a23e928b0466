import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "otadet"


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, otadet; print(sorted({'torch', 'cv2', 'onnx', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("folder", ["assigners", "data", "evaluation", "losses", "models", "optim"])
def test_what_a_training_is_made_of_knows_nothing_of_the_training(folder: str) -> None:
    files = list((PACKAGE / folder).rglob("*.py"))
    assert files
    for path in files:
        above = [name for name in imported_modules(path) if name.startswith(("otadet.engine", "otadet.apps"))]
        assert not above, f"{path.relative_to(PACKAGE)} imports {above}"


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
