"""Methods side by side: the table, the front, the histograms, the sentences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sdq import labels
from sdq.evaluate.significance import paired_tests
from sdq.evaluate.statistics import mean_interval, p_cell
from sdq.figures import methods, prices, style, weight_histograms
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_tables

FOUR = ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("data") / "runs", shipped=None)
    made_up.fill(store, FOUR, ("intent",))
    return store


def chosen(store: Store, names: tuple[str, ...] = FOUR) -> list[Report]:
    by_name = {r.recipe["name"]: r for r in store.finished()}
    return [by_name[name] for name in names]


@pytest.fixture(scope="module")
def found(store: Store) -> pd.DataFrame:
    reports = chosen(store)
    return methods.table(reports, {r.run: store.sentences(r.run) for r in reports})


def test_the_table_agrees_with_the_reports(store: Store, found: pd.DataFrame) -> None:
    reports = chosen(store)
    assert found["run"].tolist() == ["FP32", "PTQ", "QAT", "SDQ"]
    assert found["zero-shot mean"].tolist() == pytest.approx(
        [100 * r.quantized.zero_shot_mean for r in reports]
    )
    assert found["mean"].tolist() == pytest.approx([100 * r.quantized.mean for r in reports])
    assert found["labelled"].tolist() == pytest.approx(
        [100 * r.quantized.by_language["en"] for r in reports]
    )
    assert found["MB"].tolist() == [24.0, 6.4, 6.4, 6.4]
    assert found["simulated"].tolist() == [False, True, True, True]
    assert found["seconds"].tolist() == [12.0, 12.0, 52.0, 52.0]
    assert (found["low"] < found["zero-shot mean"]).all()
    assert (found["zero-shot mean"] < found["high"]).all()


def test_intervals_and_differences_are_those_of_the_statistics(
    store: Store, found: pd.DataFrame
) -> None:
    full, ptq = (store.sentences(r.run) for r in chosen(store)[:2])
    codes = [code for code in made_up_tables.LANGUAGES if code != "en"]
    _, low, high = mean_interval([ptq], codes)
    assert found[["low", "high"]].iloc[1].tolist() == pytest.approx([100 * low, 100 * high])
    against = paired_tests(full, ptq, codes).set_index("language").loc["all"]
    row = found.iloc[1]
    assert [row["difference"], row["difference low"], row["difference high"]] == pytest.approx(
        [against["change"], against["low"], against["high"]]
    )
    assert row["p"] == against["p"]
    assert found.iloc[0][["difference", "p"]].isna().all()


def test_other_sentences_give_no_paired_difference(store: Store) -> None:
    reports = chosen(store, FOUR[:2])
    tables = {r.run: store.sentences(r.run) for r in reports}
    tables[reports[1].run] = tables[reports[1].run].iloc[1:]
    row = methods.table(reports, tables).iloc[1]
    assert math.isnan(row["p"])
    assert row["difference"] < 0


def test_without_sentences_there_are_scores_but_no_intervals(store: Store) -> None:
    bare = methods.table(chosen(store), {})
    assert bare[["low", "high", "p"]].isna().all(None)
    assert "[" not in methods.printed(bare, "en", "accuracy").iloc[1, 2]
    assert methods.reading(bare).startswith("Of the quantized runs, SDQ scores highest")
    with pytest.raises(ValueError, match="at least one report"):
        methods.table([], {})


def test_the_table_in_writing(found: pd.DataFrame) -> None:
    text = methods.printed(found, "en", "accuracy")
    row = found.iloc[1]
    written = (
        f"{row['difference']:+.1f} [{row['difference low']:+.1f}, {row['difference high']:+.1f}]"
    )
    assert "-" in written
    assert text["zero-shot against FP32, points [95 %]"].iloc[1] == written.replace("-", "−")
    assert text["zero-shot against FP32, points [95 %]"].iloc[0] == ""
    assert text["size, MB"].tolist()[:2] == ["24.00", "6.40 simulated"]
    assert text["p"].tolist() == ["", *(p_cell(p) for p in found["p"].iloc[1:])]


def test_the_sentence_names_best_worst_and_price(found: pd.DataFrame) -> None:
    text = methods.reading(found)
    by_run = found.set_index("run")
    assert (
        f"SDQ scores highest on the zero-shot languages: "
        f"{by_run.loc['SDQ', 'zero-shot mean']:.1f} %" in text
    )
    assert (
        f"PTQ scores lowest: {by_run.loc['PTQ', 'zero-shot mean']:.1f} %, "
        f"{by_run.loc['PTQ', 'difference']:+.1f} points".replace("-", "−")
        in text
    )
    assert "SDQ took 52 s to make and has 6.4 MB (simulated)" in text
    assert methods.reading(found.iloc[:1]).startswith("None of these runs is quantized")
    assert methods.reading(found.iloc[1:2]).endswith("there is no other run.")


def points(scores: dict[str, tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"run": name, "zero-shot mean": score, "MB": size, "seconds": size}
            for name, (score, size) in scores.items()
        ]
    )


def test_the_front_keeps_what_nothing_beats() -> None:
    assert prices.front(
        points(
            {"big": (90, 10), "poor": (50, 5), "good": (80, 5), "small": (60, 2), "worse": (79, 11)}
        ),
        "size",
    ) == ["small", "good", "big"]
    assert prices.front(points({"a": (80, 5), "twin": (80, 5)}), "time") == ["a", "twin"]


@pytest.mark.parametrize("price", ["size", "time"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_front_is_drawn_with_intervals_and_marks(
    store: Store, found: pd.DataFrame, price: prices.Price, theme: style.Theme
) -> None:
    figure = prices.pareto(found, chosen(store), price, theme)
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [trace.name for trace in marks] == ["FP32", "PTQ", "QAT", "SDQ"]
    assert (
        len({trace.marker.symbol for trace in marks})
        == len({trace.marker.color for trace in marks})
        == 4
    )
    assert len({trace.x[0] for trace in marks}) == 4  # equal prices stand side by side
    assert marks[1].error_y.array[0] == pytest.approx(found["high"][1] - found["zero-shot mean"][1])
    assert ("simulated" in figure.layout.xaxis.title.text) == (price == "size")


def test_no_intervals_no_bars(store: Store) -> None:
    figure = prices.pareto(methods.table(chosen(store), {}), chosen(store), "size")
    assert all(trace.error_y.array is None for trace in figure.data)


def test_histograms_before_and_after(store: Store) -> None:
    reports = chosen(store)
    names, weights = (
        labels.run_names(reports),
        {r.run: store.table(r.run, "weights") for r in reports},
    )
    module = "roberta.encoder.layer.3.attention.self.query"
    table = weight_histograms.histogram_table(weights, names, module)
    shares = table.groupby("run", sort=False)[["before", "after"]].sum(min_count=1)
    assert shares["before"].tolist() == pytest.approx([100] * 4)
    assert shares["after"].tolist() == pytest.approx([math.nan, 100, 100, 100], nan_ok=True)
    row = weights[reports[1].run].set_index("module").loc[module]
    mine = table[table["run"] == "PTQ"]
    assert mine["after"].to_numpy() == pytest.approx(
        100 * np.asarray(row["quantized"]) / sum(row["quantized"])
    )
    assert mine["weight"].iloc[0] > row["low"]
    figure = weight_histograms.histograms(table)
    assert [trace.name for trace in figure.data] == [
        "before rounding",
        *["before rounding", "after rounding"] * 3,
    ]
    assert figure.layout.yaxis.type == "log"
    text = weight_histograms.histogram_reading(weights, names, module, "block 3 · query")
    assert text.startswith("Weights of block 3 · query: FP32 not rounded; PTQ 3 bits, SQNR")
    assert not len(weight_histograms.histogram_table(weights, names, "nowhere"))
    assert (
        weight_histograms.histogram_reading(weights, names, "nowhere", "nowhere")
        == "None of these runs has weights of nowhere."
    )


def test_what_to_compare_with(store: Store) -> None:
    full, ptq, qat, sdq = chosen(store)
    every = store.finished()
    assert {r.recipe["name"] for r in methods.suggested([ptq], every)} == {
        "fp32",
        "qat-w3a8",
        "sdq-att-kld-w3a8",
    }
    assert methods.suggested([ptq], [ptq]) == []
    assert len(methods.suggested([], every)) == 4
    other = ptq.model_copy(update={"run": "e" * 12, "task": "slots"})
    assert methods.suggested([ptq], [ptq, other]) == []
    again = made_up.add(store, PRESETS["ptq-w3a8"].model_copy(update={"seed": 3}))
    assert methods.suggested([ptq], [ptq, again]) == [again]
    assert methods.suggested([full, ptq, qat, sdq], [full, ptq, qat, sdq]) == []
