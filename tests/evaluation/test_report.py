import json
from dataclasses import replace

import pytest

from otadet.evaluation.coco import STATS
from otadet.evaluation.diagnosis import Diagnosis
from otadet.evaluation.report import format_result, write_metrics
from otadet.evaluation.result import ClassResult, Result

DIAGNOSIS = Diagnosis(
    images=4,
    truths=30,
    crowd_regions=1,
    predictions=200,
    predicted_images=4,
    matching_images=3,
    predicted_classes=("ağaç", "leaf"),
    truth_classes=("leaf",),
    matching_classes=("leaf",),
    top_score=0.8125,
    best_iou=0.75,
    best_class_iou=0.5,
    most_truths_per_image=12,
    cause="",
)


def result(ap: float, cause: str = "", **stats: float) -> Result:
    names = ("AP", "AP50", "AP75", "AR100")
    classes = [
        ClassResult("ağaç", dict.fromkeys(names, -1), 0, 150),
        ClassResult("leaf", dict(zip(names, (ap, 0.5, 0.25, 0.625), strict=True)), 30, 50),
    ]
    numbers = {**dict.fromkeys(STATS, 0.5), "AP": ap, **stats}
    return Result("coco", "pycocotools 2", numbers, classes, replace(DIAGNOSIS, cause=cause))


def test_each_number_stands_below_its_name():
    numbers = {name: index / 100 for index, name in enumerate(STATS, start=1)}
    lines = format_result(result(0.01, **numbers)).splitlines()
    shown = dict(zip((lines[0] + lines[2]).split(), (lines[1] + lines[3]).split(), strict=True))
    assert shown == {name: f"{value:.3f}" for name, value in numbers.items()}


def test_a_good_result_has_a_diagnosis_of_one_line():
    *_, last, _, judge = format_result(result(0.4)).splitlines()
    assert judge == "COCO's evaluation, by pycocotools 2"
    assert last.startswith("30 ground truths, 200 predictions")
    assert "3 of 4" in last
    assert "top score 0.812" in last


@pytest.mark.parametrize("ap", [0.0, -1.0, 0.0004])
def test_a_zero_or_missing_ap_is_explained(ap):
    text = format_result(result(ap, cause="it was raining"))
    assert "!! AP is" in text
    for count in ("30 in 4 images", "200", "4 have predictions, 3 of them", "ağaç, leaf", "0.8125", "it was raining"):
        assert count in text


def test_classes_are_listed_on_request():
    table = format_result(result(0.4), per_class=True).split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table] == ["class", "ağaç", "leaf"]
    assert table[1].split()[1:] == ["-", "-", "-", "-", "0", "150"]
    assert table[2].split()[1:] == ["0.400", "0.500", "0.250", "0.625", "30", "50"]
    assert len({len(line) for line in table}) == 1
    assert "leaf" not in format_result(result(0.4))


def test_the_limit_of_100_detections_is_mentioned_where_it_matters():
    crowded = result(0.4)
    crowded = replace(crowded, diagnosis=replace(DIAGNOSIS, most_truths_per_image=240))
    assert "240 objects" in format_result(crowded)
    assert "note" not in format_result(result(0.4))


def test_metrics_are_json(tmp_path):
    write_metrics(tmp_path / "m.json", result(0.4))
    saved = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert saved["stats"]["AP"] == 0.4
    assert saved["per_class"][0]["name"] == "ağaç"
    assert saved["diagnosis"]["top_score"] == 0.8125
