"""Which layers break the answers: the numbers of the pictures are the stored ones, the floor is in
them, and the sentences say what is there."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sdq.figures import estimates, module_scan, sensitivity, tensors
from sdq.figures.sensitivity import METRICS, VIEWS
from sdq.figures.style import INK
from sdq.results import EVERY
from tests.helpers import made_up_sensitivity as made_up
from tests.helpers.made_up_tables import MODULES

SCAN, FLOOR, ESTIMATE, PARTS = (
    made_up.sensitivity(),
    made_up.floor(),
    made_up.estimate(),
    made_up.parts(),
)
NAMES = [name for name, _, _ in MODULES]


def stored(measure: str, column: str, language: str = EVERY) -> list[float]:
    mine = SCAN[(SCAN["measure"] == measure) & (SCAN["language"] == language)]
    return [float(v) for v in mine.set_index("module").loc[NAMES, column]]


def traces(figure: object, name: str) -> list[object]:
    return [t for t in figure.data if t.name == name]  # type: ignore[attr-defined]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("language", [EVERY, "sw"])
def test_the_rows_are_the_stored_numbers(metric: str, language: str) -> None:
    known = METRICS[metric]
    for view, measure in VIEWS.items():
        table = sensitivity.rows(SCAN, FLOOR, metric, view, language)
        assert list(table["module"]) == NAMES
        for column, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            assert list(table[column]) == pytest.approx(
                [known.times * v for v in stored(measure, known.column + end, language)]
            )
        assert (table["above"] == (table["value"].abs() > table["floor"])).all()
    assert list(table["rest"]) == pytest.approx(
        [known.times * v for v in stored("but_one", known.column, language)]
    )


def test_the_floor_is_the_largest_movement_of_either_cause() -> None:
    table = sensitivity.rows(SCAN, FLOOR, "KL").set_index("module")
    highest = (
        FLOOR[(FLOOR["kind"] == "module") & (FLOOR["measure"] == "kl")]
        .groupby("name")["high"]
        .max()
    )
    assert dict(table["floor"]) == pytest.approx(dict(highest))
    assert list(table.index[~table["above"]]) == [made_up.QUIET]
    assert sensitivity.model_floor(FLOOR, "KL") == pytest.approx(0.05 * 1.3)
    assert sensitivity.model_floor(FLOOR, "KL", shift=True) == pytest.approx(0.025 * 1.3)
    assert (
        sensitivity.model_floor(FLOOR, "Loss", shift=True)
        == sensitivity.model_floor(FLOOR, "Loss")
        == pytest.approx(0.01 * 1.3)
    )
    added = sensitivity.rows(SCAN, FLOOR, "Flips", "All but one")
    assert set(added["floor"]) == {100 * sensitivity.model_floor(FLOOR, "Flips", shift=True)}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_module_is_drawn_with_interval_and_floor(view: str, metric: str, theme: str) -> None:
    figure, table, text = module_scan.modules_picture(
        SCAN, FLOOR, metric, view, chosen=NAMES[3], theme=theme
    )  # type: ignore[arg-type]
    assert figure.layout.template.layout.paper_bgcolor == INK[theme].paper  # type: ignore[index]
    dots = [
        *traces(figure, "above its noise floor"),
        *traces(figure, "within its noise floor: not ranked"),
    ]
    drawn = {
        carried[0]: (x, y)
        for t in dots
        for carried, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }  # type: ignore[attr-defined]
    logarithmic = metric == "KL" and view == "One at a time"
    assert figure.layout.xaxis.type == ("log" if logarithmic else "linear")
    edge = 10 ** figure.layout.xaxis.range[0] if logarithmic else -math.inf
    assert set(drawn) == set(NAMES)
    values = table.set_index("module")[METRICS[metric].axis]
    assert {m: x for m, (x, _) in drawn.items()} == pytest.approx(
        {m: max(v, edge) for m, v in values.items()}
    )
    heights = [drawn[m][1] for m in NAMES]
    assert heights == sorted(heights)
    assert list(figure.layout.yaxis.tickvals) == heights
    (interval,) = traces(figure, "95 % interval")
    assert list(interval.x[0::3]) == pytest.approx([max(v, edge) for v in table["low"]])  # type: ignore[attr-defined]
    assert list(interval.x[1::3]) == pytest.approx(list(table["high"]))  # type: ignore[attr-defined]
    (floor,) = traces(figure, "noise floor")
    assert list(floor.x[1::3]) == pytest.approx(
        [f for f in table["noise floor"] if f > max(edge, 0)]
    )  # type: ignore[attr-defined]
    assert (table["low"] <= table["high"]).all()
    assert [a.text for a in figure.layout.annotations] == [
        "<b>Embedding</b>",
        *(f"<b>Block {i}</b>" for i in range(6)),
        "<b>Head</b>",
    ]
    shaded = [s for s in figure.layout.shapes if s.type == "rect"]
    assert [(s.y0 + s.y1) / 2 for s in shaded] == [drawn[NAMES[3]][1]]
    assert METRICS[metric].phrase in text


def test_the_whole_models_own_movement_is_a_line() -> None:
    figure, *_ = module_scan.modules_picture(SCAN, FLOOR, "KL")
    (line,) = traces(figure, "noise floor of the whole model")
    assert line.x == pytest.approx((0.065, 0.065))  # type: ignore[attr-defined]
    assert not traces(
        module_scan.modules_picture(SCAN, FLOOR, "KL", "All but one")[0],
        "noise floor of the whole model",
    )


def simple(
    kl: dict[str, float], floor: dict[str, float], shift: float = 0.01
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(scan, floor) of query layers in blocks 0, 1, ...: alone they do this much, and add as
    much."""
    rows = []
    for measure in ("one", "added", "but_one", "all"):
        for i, (m, v) in enumerate(kl.items()):
            row = {
                "module": m,
                "role": "q",
                "block": i,
                "order": i,
                "measure": measure,
                "language": EVERY,
                "sentences": 9,
            }
            rows.append(
                row
                | {f"kl{end}": v + d for end, d in (("", 0.0), ("_low", -0.01), ("_high", 0.01))}
            )
    moved = [("module", m, "kl", f) for m, f in floor.items()] + [
        ("model", EVERY, "kl", 0.2),
        ("model", EVERY, "kl_shift", shift),
    ]
    return pd.DataFrame(rows), pd.DataFrame(moved, columns=["kind", "name", "measure", "high"])


def test_what_is_said_of_modules_alone() -> None:
    text = module_scan.modules_picture(
        *simple({"a": 0.1, "b": 0.4, "c": 0.3}, {"a": 0.2, "b": 0.0, "c": 0.0}), "KL"
    )[2]
    assert (
        "Quantized alone, block 1 · query does the most harm: a KL divergence of 0.4 nats (95 % "
        "interval 0.39 to 0.41), then block 2 · query (0.3 nats)." in text
    )
    assert (
        "1 of 3 modules stays within the noise floor (at most 0.2 nats) and is not ranked." in text
    )
    assert (
        "noise floor of the whole quantized model is 0.2 nats; alone, 1 of 3 modules stay within "
        "it." in text
    )
    assert (
        "All 2 modules are above"
        in module_scan.modules_picture(*simple({"a": 0.1, "b": 0.4}, {"a": 0.0, "b": 0.0}), "KL")[2]
    )
    assert (
        "no module has a KL divergence beyond its noise floor"
        in module_scan.modules_picture(*simple({"a": 0.1}, {"a": 0.1}), "KL")[2]
    )


def test_what_is_said_of_what_modules_add() -> None:
    scan, floor = simple({"a": 0.1, "b": -0.4, "c": 0.005}, {"a": 0.0, "b": 0.0, "c": 0.0})
    text = module_scan.modules_picture(scan, floor, "KL", "All but one")[2]
    assert (
        "Leaving block 0 · query in FP32 removes the most, 0.1 nats (95 % interval 0.09 to 0.11); "
        "0.1 nats remain." in text
    )
    assert "The noise floor is 0.01 nats; 2 of 3 modules add no more than that." in text
    scan, floor = simple({"a": 0.1}, {"a": 0.0}, shift=0.3)
    assert (
        "removes no more of it than the noise floor (0.3 nats)"
        in module_scan.modules_picture(scan, floor, "KL", "All but one")[2]
    )


def test_numbers_are_said_with_sign_and_unit() -> None:
    assert METRICS["KL"].said(3.63e-5) == "0.000036 nats"
    assert METRICS["Accuracy"].said(-0.0123) == "−1.2 points"
    assert METRICS["Flips"].said(0.5) == "50.0 %"


# --- weights against activations


@pytest.mark.parametrize("metric", METRICS)
def test_parts_are_the_stored_numbers(metric: str) -> None:
    known = METRICS[metric]
    figure, table, _ = tensors.parts_picture(PARTS, FLOOR, metric, "sw")
    assert list(table[known.axis]) == pytest.approx(list(known.times * PARTS[known.column]))
    (large,) = traces(figure, "Swahili")
    assert list(large.x) == pytest.approx(
        list(known.times * PARTS[PARTS["language"] == "sw"][known.column])
    )  # type: ignore[attr-defined]
    assert len(traces(figure, "each language")[0].x) == 45  # type: ignore[attr-defined]
    assert list(figure.layout.yaxis.ticktext) == ["weights only", "activations only", "both"]
    band = next(s for s in figure.layout.shapes if s.type == "rect")
    assert (band.x0, band.x1) == pytest.approx(
        (
            -known.times * sensitivity.model_floor(FLOOR, metric),
            known.times * sensitivity.model_floor(FLOOR, metric),
        )
    )


def test_what_is_said_of_parts() -> None:
    def said(weights: float, activations: float, both: float, itself: float) -> str:
        table = pd.DataFrame(
            {
                "part": list(tensors.PARTS.values()),
                "language": EVERY,
                "value": [weights, activations, both],
            }
        )
        return tensors.reading(table, "KL", itself)

    assert said(0.4, 0.1, 0.5, 0.01).startswith(
        "Rounding only the weights gives a KL divergence of 0.4 nats, only the activations 0.1 "
        "nats, both 0.5 nats."
    )
    assert (
        "The weights do 4 times as much as the activations; the noise floor of the model is 0.01 "
        "nats." in said(0.4, 0.1, 0.5, 0.01)
    )
    assert "The activations do 4 times as much as the weights" in said(0.1, 0.4, 0.5, 0.01)
    assert "The activations do not exceed the noise floor of the model (0.2 nats)." in said(
        0.4, 0.1, 0.5, 0.2
    )
    assert "Neither exceeds the noise floor" in said(0.1, 0.1, 0.5, 0.2)
    assert "or activations does not move the KL divergence: it is 0 nats." in said(
        0.0, 0.0, 0.0, 0.0
    )


# --- the estimate


def test_the_estimate_is_drawn_against_the_scan() -> None:
    figure, table, text = estimates.estimate_picture(SCAN, ESTIMATE, FLOOR, chosen=NAMES[0])
    exact, guess = (
        dict(zip(NAMES, stored("one", "kl"), strict=True)),
        dict(zip(ESTIMATE["module"], ESTIMATE["estimate"], strict=True)),
    )
    dots = [
        *traces(figure, "above its noise floor"),
        *traces(figure, "within its noise floor: not ranked"),
    ]
    drawn = {
        carried[0]: (x, y)
        for t in dots
        for carried, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }  # type: ignore[attr-defined]
    assert drawn == {m: pytest.approx((guess[m], exact[m])) for m in NAMES}
    assert list(table["rank"].dropna()) == list(range(1, 39))
    rho = pd.Series(exact).corr(pd.Series(guess), method="spearman")
    assert (
        f"Over 39 modules, the estimate from gradients and the exact scan have Spearman's rank "
        f"correlation ρ = {rho:.3f}." in text
    )
    ring = next(t for t in figure.data if t.marker.size == 20)
    assert (ring.x[0], ring.y[0]) == pytest.approx((guess[NAMES[0]], exact[NAMES[0]]))
    assert ring.text[0].strip() == "embedding"
    worst = next(
        t for t in estimates.estimate_picture(SCAN, ESTIMATE, FLOOR)[0].data if t.marker.size == 20
    )
    assert worst.text[0].strip() == table["layer"].iloc[0]


def test_what_is_said_of_the_estimate() -> None:
    table = pd.DataFrame(
        {"layer": ["a", "b", "c"], "kl": [0.4, 0.2, 0.0], "estimate": [0.2, 0.1, 0.05]}
    )
    assert estimates.reading(table).endswith(
        "ρ = 1.000. In the median, the exact KL divergence is 2 times the estimate. Both rank a "
        "first."
    )
    assert estimates.reading(table.assign(estimate=[0.1, 0.2, 0.05])).endswith(
        "The scan ranks a first, the estimate b."
    )
    assert "too few" in estimates.reading(table.iloc[:1])


def test_modules_without_effect_have_no_place_on_a_logarithmic_axis() -> None:
    scan = SCAN.assign(
        **{c: SCAN[c].where(SCAN["module"] != NAMES[5], 0.0) for c in ("kl", "kl_low", "kl_high")}
    )
    figure, table, _ = estimates.estimate_picture(scan, ESTIMATE, FLOOR)
    assert NAMES[5] not in {
        carried[0] for t in figure.data if t.customdata is not None for carried in t.customdata
    }
    assert NAMES[5] in set(table["module"])
    figure, table, _ = module_scan.modules_picture(scan, FLOOR, "KL")
    dots = traces(figure, "within its noise floor: not ranked")[0]
    at = [carried[0] for carried in dots.customdata].index(NAMES[5])  # type: ignore[attr-defined]
    assert dots.x[at] == pytest.approx(10 ** figure.layout.xaxis.range[0])  # type: ignore[attr-defined]
