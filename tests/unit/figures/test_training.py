"""The figure of a training: its table, its sentence, its lines."""

from __future__ import annotations

from typing import Any

import pytest

from sdq.figures import training
from sdq.figures.style import INK, Theme
from sdq.recipe import PRESETS

EVENTS: list[dict[str, Any]] = [
    {"event": "stage", "name": "train", "time": 1.0},
    {
        "event": "step",
        "of": 300,
        "step": 10,
        "loss": 2.0,
        "ce": 0.5,
        "kld": 0.05,
        "attention": 0.01,
        "time": 2.0,
    },
    {
        "event": "step",
        "of": 300,
        "step": 20,
        "loss": 1.0,
        "ce": 0.3,
        "kld": 0.02,
        "attention": 0.005,
        "time": 3.0,
    },
    {"event": "check", "of": 300, "step": 25, "dev": 0.9, "time": 4.0},
    {
        "event": "step",
        "of": 300,
        "step": 30,
        "loss": 0.8,
        "ce": 0.25,
        "kld": 0.015,
        "attention": 0.004,
        "time": 5.0,
    },
    {"event": "check", "of": 300, "step": 30, "dev": 0.95, "time": 6.0},
]
FACTORS = training.weights(PRESETS["sdq-att-kld-w3a8"].model_dump(mode="json")["training"])


def test_the_weights_are_those_of_the_recipe() -> None:
    assert FACTORS == {"ce": 1.0, "kld": 10.0, "attention": 100.0}
    assert training.weights(None) is None
    assert training.weights(
        {"distillation": [{"kind": "kld", "weight": 2.0}, {"kind": "kld", "weight": 3.0}]}
    ) == {"ce": 1.0, "kld": 5.0}


def test_the_history_of_events_has_the_shape_of_a_report() -> None:
    of = training.history(EVENTS)
    assert of["steps"][0] == {"step": 10, "loss": 2.0, "ce": 0.5, "kld": 0.05, "attention": 0.01}
    assert of["checks"] == [{"step": 25, "dev": 0.9}, {"step": 30, "dev": 0.95}]
    assert (of["kept"], of["of"]) == (None, 300)
    assert training.history([]) == {"steps": [], "checks": [], "kept": None, "of": None}


def test_the_table_has_a_row_per_step_and_look_and_adds_up() -> None:
    rows = training.table(training.history(EVENTS), FACTORS)
    assert list(rows["step"]) == [10, 20, 25, 30]
    weighted = [c for c in rows if c.endswith(", weighted")]
    assert weighted == [
        "labels (CE), weighted",
        "predictions (KLD), weighted",
        "attention outputs, weighted",
    ]
    logged = rows.dropna(subset=["loss"])
    assert list(logged[weighted].sum(axis=1)) == pytest.approx(list(logged["loss"]))
    assert dict(zip(rows["step"], rows["dev score, %"], strict=True))[30] == pytest.approx(95)
    assert rows["dev score, %"].isna().sum() == 2


def test_the_sentence_says_loss_terms_and_best_score() -> None:
    of = training.history(EVENTS)
    text = training.reading(of, FACTORS, "English")
    assert "After 30 of 300 steps the loss of a batch is 0.8; it fell from 2 at step 10." in text
    assert "0.25 from labels (CE), 0.15 from predictions (KLD), 0.4 from attention outputs" in text
    assert "Best score on English dev sentences: 95.0 % at step 30." in text
    assert "the weights of step 30 were kept" in training.reading({**of, "kept": 30}, FACTORS)
    assert "Best score on dev sentences: 95.0 %" in training.reading(of, FACTORS)


def test_the_sentence_at_the_edges() -> None:
    assert "No training step" in training.reading(training.history([]))
    one = training.history(EVENTS[:2])
    assert training.reading(one) == "After 10 of 300 steps the loss of a batch is 2."
    rising = {
        "steps": [{"step": 10.0, "loss": 1.0}, {"step": 20.0, "loss": 2.0}],
        "checks": [],
        "kept": None,
    }
    assert "it rose from 1 at step 10" in training.reading(rising)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_term_has_its_own_colour_dash_and_symbol(theme: Theme) -> None:
    rows = [
        {
            "step": s,
            "loss": 1.0,
            "ce": 0.1,
            "kld": 0.2,
            "attention": 0.3,
            "hidden": 0.2,
            "brand_new": 0.1,
            "newer": 0.1,
        }
        for s in (10, 20)
    ]
    figure = training.curves(
        {"steps": rows, "checks": [{"step": 20, "dev": 0.9}], "kept": 20, "of": 40}, None, theme
    )
    names = {trace.name: trace for trace in figure.data}
    assert set(names) == {
        "loss, all terms",
        "labels (CE)",
        "predictions (KLD)",
        "attention outputs",
        "layer outputs",
        "brand new",
        "newer",
        "dev score",
        "weights kept",
    }
    lines = [
        t for t in figure.data if t.name not in ("loss, all terms", "dev score", "weights kept")
    ]
    assert (
        len({t.line.color for t in lines})
        == len({t.line.dash for t in lines})
        == len({t.marker.symbol for t in lines})
        == len(lines)
    )
    assert list(names["weights kept"].x) == [20]
    assert figure.layout.template.layout.paper_bgcolor == INK[theme].paper
    assert tuple(figure.layout.xaxis.range) == (0, pytest.approx(40.8))


def test_qat_has_one_line() -> None:
    of = {"steps": [{"step": 10.0, "loss": 0.5, "ce": 0.5}], "checks": [], "kept": None}
    figure = training.curves(of, {"ce": 1.0})
    assert [t.name for t in figure.data] == ["labels (CE)"]
    assert list(figure.data[0].y) == [0.5]


def test_a_loss_without_terms_can_be_drawn_and_nothing_cannot() -> None:
    assert [
        t.name
        for t in training.curves(
            {"steps": [{"step": 1.0, "loss": 1.0}], "checks": [], "kept": None}
        ).data
    ] == ["loss, all terms"]
    with pytest.raises(ValueError, match="at least one logged step"):
        training.curves(training.history([]))


def test_steps_done_again_after_an_interruption_count_once() -> None:
    again = [
        {"event": "resumed", "step": 20, "of": 300},
        {"event": "step", "of": 300, "step": 30, "loss": 0.7, "ce": 0.7},
    ]
    of = training.history([*EVENTS, *again])
    assert [(row["step"], row["loss"]) for row in of["steps"]] == [(10, 2.0), (20, 1.0), (30, 0.7)]
    assert of["checks"] == []
