import pytest

from benchmarks.readers import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_it_is_written(name, tmp_path):
    write, read = FORMATS[name]
    write(tmp_path, 7, 3)
    annotations = read(tmp_path)
    assert (len(annotations.image_ids), len(annotations.boxes)) == (7, 21)
    assert annotations.dropped == ()
