"""Error through depth: tables, curves and sentences."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sdq import labels
from sdq.figures import curves, depth, depth_rows, style
from sdq.recipe import PRESETS
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.depth import chosen, errors


def simple(
    accumulated: tuple[float, ...],
    local: dict[str, float],
    languages: dict[str, float] | None = None,
) -> pd.DataFrame:
    """A depth table with errors one can do sums with: block outputs, and the local errors of roles
    in block 0."""
    rows = []
    for code, factor in {"all": 1.0, **(languages or {"en": 1.0})}.items():
        order = 0
        for block, value in enumerate(accumulated):
            for role in ("q", "attention_output", "ffn_out", "block"):
                rows.append(
                    (
                        f"layer.{block}.{role}",
                        role,
                        block,
                        order,
                        "accumulated",
                        code,
                        value * factor,
                    )
                )
                order += 1
        rows += [
            (f"layer.0.{role}", role, 0, i, "local", code, value * factor)
            for i, (role, value) in enumerate(local.items())
        ]
    table = pd.DataFrame(
        rows, columns=["site", "role", "block", "order", "measure", "language", "relative_l2"]
    )
    sqnr = [-20 * math.log10(v) if v else 200.0 for v in table["relative_l2"]]
    return table.assign(
        sqnr_db=sqnr, mean_abs=table["relative_l2"] / 2, frobenius=table["relative_l2"] * 10
    )


def test_the_rows_are_the_stored_numbers(store: Store) -> None:
    found = errors(store)
    names = labels.run_names(chosen(store))
    rows = depth_rows.rows(found, names, "sqnr_db", language="sw")
    assert list(names.values()) == ["PTQ", "QAT", "SDQ"] == list(rows["run"].unique())
    run, table = next(iter(found.items()))
    stored = table[
        (table["measure"] == "accumulated")
        & (table["role"] == "block")
        & (table["language"] == "sw")
    ].sort_values("block")
    assert rows[rows["id"] == run]["value"].tolist() == pytest.approx(stored["sqnr_db"].tolist())
    assert rows["layer"].iloc[3] == "block 3 · block output"
    assert rows["weights"].iloc[3] == "roberta.encoder.layer.3.output.dense"


def test_an_output_without_weights_leads_to_the_layer_behind_it() -> None:
    behind = depth_rows.behind(simple((0.1, 0.2), {"q": 0.1}))
    assert behind["layer.1.block"] == "layer.1.ffn_out"
    assert behind["layer.1.q"] == "layer.1.q"


def test_unknown_measures_and_absent_errors(store: Store) -> None:
    found, names = errors(store), labels.run_names(chosen(store))
    with pytest.raises(ValueError, match="measure must be one of relative_l2"):
        depth_rows.rows(found, names, "cosine")
    ptq = chosen(store)[0].run
    assert not len(depth_rows.rows({ptq: found[ptq]}, names, "relative_l2", error="gap"))
    assert list(depth_rows.rows({}, {}, "relative_l2")) == depth_rows.COLUMNS
    assert not len(
        depth_rows.rows(found, names, "relative_l2", roles=("attention",), error="local")
    )


def test_no_error_is_not_drawn_as_200_db() -> None:
    rows = depth_rows.rows({"a": simple((0.0, 0.1), {})}, {"a": "PTQ"}, "sqnr_db")
    assert rows["value"].isna().tolist() == [True, False]
    figure = curves.curves(rows, "sqnr_db", {"PTQ": style.MARKS["PTQ"]})
    assert figure.data[0].y[0] is None
    assert "no error" in figure.data[0].hovertext[0]


def test_the_sentence_says_ends_growth_and_role() -> None:
    found = {
        "a": simple((0.1, 0.4, 0.5), {"q": 0.2, "ffn_out": 0.1}),
        "b": simple((0.05, 0.06, 0.1), {"q": 0.01, "ffn_out": 0.02}),
    }
    text = depth.reading(found, {"a": "PTQ", "b": "SDQ"}, "relative_l2")
    assert (
        "from 0.1 at block 0 to 0.5 at block 2 (5.0 times) with PTQ and from 0.05 at block 0 to "
        "0.1 at block 2 (2.0 times) with SDQ" in text
    )
    assert "With PTQ it grows most from block 0 to block 1 (by 0.3)." in text
    assert "The role with the largest local error is query (0.2 on average)." in text
    decibels = depth.reading(found, {"a": "PTQ", "b": "SDQ"}, "sqnr_db")
    assert "from 20.0 dB at block 0 to 6.0 dB at block 2 with PTQ" in decibels
    assert "falls most from block 0 to block 1 (by 12.0 dB)" in decibels
    assert "lowest local SQNR is query (14.0 dB on average)" in decibels


def test_the_sentence_at_the_edges() -> None:
    falling = depth.reading({"a": simple((0.5, 0.4), {})}, {"a": "QAT"}, "relative_l2", "en")
    assert "in English goes from 0.5 at block 0 to 0.4 at block 1 (0.8 times) with QAT." in falling
    assert "no block makes it worse" in falling
    assert "role with" not in falling
    assert (
        depth.reading({"a": simple((0.5,), {})}, {"a": "QAT"}, "relative_l2", "de")
        == "No error was measured in German."
    )
    assert depth.reading({"a": simple((0.5,), {})}, {"a": "QAT"}, "relative_l2").endswith(
        "at block 0 with QAT."
    )


def test_languages_worst_best_and_mean() -> None:
    table = simple((0.1, 0.2), {}, {"en": 1.0, "de": 2.0, "sw": 4.0, "hi": 3.0})
    rows = depth_rows.language_rows(table, "a", "PTQ", "en", "relative_l2")
    assert set(rows["line"]) == {
        "English",
        "Swahili (worst)",
        "German (best)",
        "mean of 4",
        curves.OTHERS,
    }
    assert rows[rows["line"] == "mean of 4"]["value"].tolist() == pytest.approx([0.25, 0.5])
    assert set(depth.language_marks(rows)) == set(rows["line"])
    assert (
        depth_rows.language_rows(table, "a", "PTQ", "en", "sqnr_db")["line"]
        .str.startswith("Swahili (worst)")
        .any()
    )
    text = depth.language_reading(rows, "PTQ", "relative_l2")
    assert "Swahili (worst), 0.8" in text
    assert "English, 0.2" in text
    assert set(
        depth_rows.language_rows(simple((0.1, 0.2), {}), "a", "PTQ", "en", "relative_l2")["line"]
    ) == {"English", "mean of 1"}


def test_tokens_of_one_sentence(store: Store) -> None:
    reports = chosen(store)
    names = labels.run_names(reports)
    tokens, samples = (
        {r.run: store.table(r.run, name) for r in reports} for name in ("tokens", "sample")
    )
    sentence = samples[reports[0].run].query("language == 'sw'").iloc[1]
    rows = depth_rows.token_rows(tokens, samples, names, "sw", sentence["id"])
    mine = rows[(rows["run"] == "PTQ") & (rows["block"] == 5)]
    assert mine["token"].tolist() == list(sentence["tokens"])
    assert mine["value"].tolist() == pytest.approx([0.6 * (t + 1) for t in range(len(mine))])
    figure = depth.token_map(rows)
    assert [trace.type for trace in figure.data] == ["heatmap"] * 3
    assert figure.data[0].z.shape == (6, len(mine))
    assert f"{sentence['tokens'][-1]!r}" in depth.token_reading(rows)
    assert not len(depth_rows.token_rows(tokens, samples, names, "sw", "no such sentence"))


def test_tokens_that_look_like_tags_are_escaped() -> None:
    rows = pd.DataFrame(
        {"run": "PTQ", "block": [0, 1], "position": 0, "token": "<s>", "value": 0.1}
    )
    assert depth.token_map(rows).layout.xaxis.ticktext == ("&lt;s&gt;",)


@pytest.mark.parametrize("view", [view for view in depth.VIEWS if view != "Tokens"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_drawn(store: Store, view: str, theme: style.Theme) -> None:
    reports = chosen(store)
    if view == "Activations":  # of a run that rounds them
        reports = [made_up.add(store, PRESETS["ptq-int8-full"])]
    how = depth.VIEWS[view]
    measure = how.measure or "relative_l2"
    tables = {report.run: store.table(report.run, "depth") for report in reports}
    for error in how.errors:
        figure, table, text = depth.draw(
            view, reports, tables, measure, error, "all", reports[0].run, theme
        )
        assert figure.layout.template.layout.paper_bgcolor == style.INK[theme].paper
        assert curves.axis(measure) in table
        assert all(
            any(character.isdigit() for character in sentence) for sentence in text.split("; ")
        )
        points = sum(y is not None for trace in figure.data for y in trace.y)
        assert points == len(table)


def test_panels_share_axes_and_leave_no_empty_cell(store: Store) -> None:
    reports = chosen(store)
    figure, table, _ = depth.draw(
        "Paper: error by layer type",
        reports,
        errors(store),
        "mean_abs",
        "accumulated",
        "all",
        "",
        "light",
    )
    assert [a.text for a in figure.layout.annotations][:3] == ["PTQ", "QAT", "SDQ"]
    assert not hasattr(figure.layout, "xaxis4")
    assert len({trace.name for trace in figure.data}) == 7
    assert (
        len({(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in figure.data})
        == 7
    )
    assert "self-attention" in set(table["type"])
    assert {trace.customdata[0] for trace in figure.data if trace.name == "self-attention"} == {
        "roberta.encoder.layer.0.attention.output.dense"
    }


def test_the_gap_is_its_own_picture(store: Store) -> None:
    trained = chosen(store)[1:]
    _, table, text = depth.draw(
        "Blocks", trained, errors(store), "relative_l2", "gap", "all", "", "light"
    )
    assert set(table["error"]) == {"gap"}
    assert text.startswith("The relative L2 difference between student and FP32 teacher goes from")


def test_runs_of_one_method_are_told_apart(store: Store) -> None:
    first = chosen(store)[0]
    twin = made_up.add(store, PRESETS["ptq-int8-dynamic"])
    again = first.model_copy(update={"run": "f" * 12, "recipe": {**first.recipe, "seed": 5}})
    assert list(labels.run_names([first, twin]).values()) == ["PTQ W3A8", "PTQ INT8"]
    assert list(labels.run_names([first, again]).values()) == ["PTQ, seed 0", "PTQ, seed 5"]
    assert list(labels.run_names([first, twin, again]).values()) == [
        "PTQ W3A8, seed 0",
        "PTQ INT8, seed 0",
        "PTQ W3A8, seed 5",
    ]
    assert (
        len(set(labels.run_names([first, first.model_copy(update={"run": "e" * 12})]).values()))
        == 2
    )
    assert [m.symbol for m in curves.run_marks([first, twin]).values()] == ["x", "x-open"]
    assert labels.run_names([first]) == {first.run: "PTQ"}


def test_where_to_look_first(store: Store) -> None:
    assert depth_rows.worst_module(simple((0.1,), {"q": 0.1, "ffn_out": 0.3})) == "layer.0.ffn_out"
    layers = depth_rows.measured(errors(store)[chosen(store)[0].run])
    assert list(layers)[1] == "roberta.encoder.layer.0.attention.self.query"
    assert "block 0 · block output" not in layers.values()
