"""Whatever the annotations say, the checks end, without a warning of numpy's."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.apps.check_report import as_data, print_report
from otadet.data.check.advice import advice
from otadet.data.check.findings import check_splits
from otadet.data.check.scan import ImageFiles
from otadet.data.check.split import Split, image_paths
from otadet.data.transforms import Letterbox, MultiScale, ResizeShortestEdge
from tests.helpers.few_annotations import annotations

NUMBERS = st.one_of(
    st.floats(width=64),
    st.floats(-20, 120),
    st.integers(0, 100).map(float),
    st.sampled_from([0.0, 1e300, -1e300, 2.0**31, 1e18]),
)
SIDES = st.sampled_from([0, 1, 50, 100, 2**31 - 1])
RESIZES = ResizeShortestEdge((64, 96), 100), Letterbox((32, 64)), MultiScale((Letterbox((32, 32)),))


@st.composite
def splits(draw: st.DrawFn, name: str) -> Split:
    sizes = draw(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
    boxes = draw(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=8))
    image_rows = [draw(st.integers(0, len(sizes) - 1)) for _ in boxes]
    class_rows = [draw(st.integers(0, 1)) for _ in boxes]
    ignored = [draw(st.booleans()) for _ in boxes]
    made = annotations(boxes, image_rows, class_rows, sizes, ("a", "b"), ignored)
    count = len(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    files = ImageFiles(
        paths=tuple(image_paths(made)),
        problems={0: "0.png: no such image file"} if draw(st.booleans()) else {},
        sizes=made.image_sizes * draw(st.sampled_from([0, 1, 2])),
        orientations=rng.integers(1, 9, count),
        bits=np.full(count, 8),
        digests=np.array([b"%032d" % number for number in rng.integers(0, 3, count)]),
        hashes=rng.integers(0, 2, count, dtype=np.uint64),
        thumbnails=rng.integers(0, 255, (count, 256), dtype=np.uint8),
        decoded=rng.integers(0, 2, count).astype(bool),
        blank=rng.integers(0, 2, count).astype(bool),
    )
    return Split(name, replace(made, dropped=(("lines", 2),)), files)


@settings(max_examples=150, deadline=None)
@given(
    train=splits("train"),
    val=splits("val"),
    resize=st.sampled_from(RESIZES),
)
def test_anything_is_checked(train, val, resize):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = check_splits([train, val], resize)
        suggestions = advice(train.statistics, resize)
        print_report([train, val], resize, findings, suggestions, 2)
        data = as_data([train, val], resize, findings, suggestions)
    assert len(data["findings"]) == len(findings)
    for finding in findings:
        for place in finding.places:
            split = {"train": train, "val": val}.get(place.split)
            if split is not None and place.image_row is not None:
                assert (split.annotations.image_rows[list(place.box_rows)] == place.image_row).all()
