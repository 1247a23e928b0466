import csv

import pytest

from otadet.errors import UserError
from tests.helpers.programs import call_tool
from tests.helpers.tiny_experiment import write_tiny_experiment


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def count(tiny, monkeypatch, tmp_path):
    def call(*arguments):
        table = tmp_path / "table.csv"
        call_tool(
            monkeypatch, "ambiguity", "-f", tiny.file, "-c", tiny.checkpoint, "--device", "cpu",
            "--csv", table, *arguments,
        )  # fmt: skip
        with open(table, newline="") as file:
            return list(csv.DictReader(file))

    return call


def test_a_row_for_each_rule_and_radius(count, capsys):
    rows = count("--assigner", "ota", "simota", "--radius", 3, 7)
    assert [(row["rule"], row["r"]) for row in rows] == [("ota", "3"), ("ota", "7"), ("simota", "3"), ("simota", "7")]
    assert {row["images"] for row in rows} == {"4"}
    assert rows[0]["ambiguous"] != rows[1]["ambiguous"]
    assert rows[0]["ambiguous"] in f"{float(rows[0]['ambiguous']):.4f}"
    assert "simota" in capsys.readouterr().out


def test_without_a_radius_the_rule_is_as_it_is(count):
    (as_it_is,), (with_five,) = count(), count("--radius", 5)
    assert as_it_is["r"] == "-"
    assert as_it_is["ambiguous"] == with_five["ambiguous"]


def test_the_rule_is_the_experiments_own(count):
    (own,), (fixed,) = count(), count("assigner", "atss")
    assert (own["rule"], fixed["rule"]) == ("exp (OTA)", "exp (ATSS)")
    (named,) = count("--assigner", "atss")
    assert fixed["positives"] == named["positives"] != own["positives"]


def test_split_and_limit_choose_the_images(count):
    assert count("--split", "val")[0]["images"] == "2"
    assert count("--limit", 3)[0]["images"] == "3"


@pytest.mark.parametrize("wrong", [("--limit", 0), ("--radius", 0), ("--batch", -1)])
def test_numbers_are_positive(count, wrong):
    with pytest.raises(UserError, match=f"{wrong[0]} {wrong[1]}"):
        count(*wrong)
