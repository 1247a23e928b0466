"""The documentation's table of findings is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from otadet.data.check.finding import SEVERITIES, percent
from otadet.data.check.kinds import KINDS

PAGE = Path(__file__).parents[3] / "docs/check.md"


def test_the_table_is_that_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(kind.id, kind.severity, kind.about) for kind in KINDS]


def test_ids_are_different_and_severities_known():
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    assert {kind.severity for kind in KINDS} == set(SEVERITIES)


def test_a_share_that_is_not_nothing_is_not_shown_as_nothing():
    shares = (0, 0.00012, 0.0123, 0.099, 0.31, 1)
    assert [percent(share) for share in shares] == ["0 %", "0.012 %", "1.2 %", "9.9 %", "31 %", "100 %"]
