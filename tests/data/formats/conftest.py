from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_files(tmp_path):
    """A function that writes files below a folder, given as path -> text or bytes; images as (width, height)."""

    def write(files, folder=tmp_path):
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, tuple):
                width, height = content
                Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Path(folder)

    return write
