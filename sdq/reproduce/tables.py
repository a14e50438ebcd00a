"""The table of the grid as one reads it: methods down, tasks across, then one table per task with
its languages; Markdown, HTML, LaTeX. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sdq.io import files
from sdq.io.quoting import csv, quoted, quoted_sentence, tex
from sdq.io.templates import rendered
from sdq.results import METRICS
from sdq.settings import UserError

MEAN = "mean"
# test scores of Unicoder on XGLUE, FP32, as its authors' scorer gave them when run again;
# unweighted means over languages, %
PUBLISHED = {
    "XNLI": 74.79,
    "NC": 83.44,
    "NER": 80.06,
    "PAWSX": 89.98,
    "POS": 79.36,
    "QAM": 68.81,
    "QADSM": 68.13,
    "WPR": 73.94,
}
Table = tuple[str, pd.DataFrame]  # title, and text cells with the methods as index


def tables(rows: pd.DataFrame) -> list[Table]:
    """The tables of the rows of sdq.reproduce.grid.scored: means by task, then for each task and
    metric the languages. Scores in %, intervals 95 %."""
    titled: list[Table] = []
    counting = rows[rows["counts"]]
    means = counting[counting["language"] == MEAN]
    if means.empty:
        return titled
    columns = {
        f"{task} ({METRICS[metric].name})": _column(scored, interval=True)
        for (task, metric), scored in means.groupby(["task", "metric"], sort=False)
    }
    whole = pd.DataFrame(columns)
    whole["mean of tasks"] = (
        means.groupby("method", sort=False)["score"]
        .mean()[means.groupby("method")["task"].nunique() == len(columns)]
        .map(_percent)
    )
    whole = whole.reindex(list(dict.fromkeys(means["method"]))).fillna("")
    if all(name.removeprefix("XGLUE ") in PUBLISHED for name in means["task"].unique()):
        published = [PUBLISHED[name.removeprefix("XGLUE ")] for name in means["task"].unique()]
        whole.loc["Unicoder, FP32 (published)"] = [
            *(f"{score:.1f}" for score in published),
            f"{sum(published) / len(published):.1f}",
        ]
    titled.append(("Means over languages", whole))
    for (task, metric, counts), scored in rows.groupby(["task", "metric", "counts"], sort=False):
        wide = pd.DataFrame(
            {
                code: _column(one, interval=False)
                for code, one in scored.groupby("language", sort=False)
            }
        )
        titled.append(
            (
                f"{task}: {METRICS[metric].name}{'' if counts else ', beside the official score'}",
                wide.reindex(list(dict.fromkeys(scored["method"]))).fillna(""),
            )
        )
    return titled


def _column(rows: pd.DataFrame, interval: bool) -> pd.Series[str]:
    said = [
        _percent(r.score)
        + (f" [{_percent(r.low)}, {_percent(r.high)}]" if interval and pd.notna(r.low) else "")
        for r in rows.itertuples()
    ]
    return pd.Series(said, index=list(rows["method"]), dtype=str)


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def notes(rows: pd.DataFrame, failures: Sequence[str] = ()) -> list[str]:
    """What one must know to read the tables."""
    seeds = int(rows["seeds"].max()) if len(rows) else 0
    said = [
        "Scores in %, higher is better; means over languages are unweighted. Trained students: "
        f"means over {seeds} seed{'' if seeds == 1 else 's'} (data order, initial noise); one "
        "FP32 teacher per task. Intervals: 95 %, bootstrap over test sentences (of rankings: "
        "queries) and seeds.",
        "Teachers and students saw labels of the training language only; the other languages are "
        "zero-shot. Quantization is simulated (fake quantization).",
    ]
    if (rows["metric"] == "precision").any():
        said.append(
            "Precision is XGLUE's official score of POS (seqeval, on tags without B- and I-), "
            "counted sentence by sentence; token accuracy stands beside it."
        )
    if (rows["metric"] == "ndcg").any():
        said.append(
            "nDCG ranks the documents of each query by the predicted label, ties averaged; "
            "queries with one document are left out, as in XGLUE's scorer."
        )
    return said + [f"Missing: {failure}" for failure in failures]


def markdown(titled: Sequence[Table], remarks: Sequence[str]) -> str:
    """All tables as Markdown."""
    lines = []
    for title, table in titled:
        head = f"| method | {' | '.join(map(quoted, table.columns))} |"
        rows = [
            f"| {quoted(method)} | {' | '.join(cells)} |"
            for method, cells in zip(table.index, table.to_numpy().tolist(), strict=True)
        ]
        lines += [
            f"## {quoted(title)}",
            "",
            head,
            "|" + "---|" * (len(table.columns) + 1),
            *rows,
            "",
        ]
    return "\n".join([*lines, *(f"{quoted_sentence(remark)}\n" for remark in remarks)])


def html(titled: Sequence[Table], remarks: Sequence[str], title: str) -> str:
    """One page that needs no network."""
    return rendered(
        "sdq.reproduce", "results.html", title=title, tables=list(titled), remarks=list(remarks)
    )


def latex(titled: Sequence[Table], remarks: Sequence[str]) -> str:
    """Tables for a paper; they need the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}"]
    for title, table in titled:
        cells = table.rename_axis("method").reset_index().map(tex)
        cells.columns = pd.Index([tex(str(name)) for name in cells.columns])
        lines.append(
            cells.style.hide(axis="index").to_latex(
                hrules=True,
                column_format="l" + "r" * len(table.columns),
                caption=tex(title),
                position_float="centering",
            )
        )
    return "\n".join([*lines, *(f"% {' '.join(remark.splitlines())}" for remark in remarks)]) + "\n"


def write(folder: Path, rows: pd.DataFrame, title: str, failures: Sequence[str] = ()) -> str:
    """Write results.csv, results.html, results.tex and results.md into a folder; returns the
    Markdown. UserError if it cannot be written."""
    titled, remarks = tables(rows), notes(rows, failures)
    text = f"# {quoted(title)}\n\n{markdown(titled, remarks)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / "results.csv", csv(rows))
        files.write_text(folder / "results.html", html(titled, remarks, title))
        files.write_text(folder / "results.tex", latex(titled, remarks))
        files.write_text(folder / "results.md", text)
    except OSError as error:
        raise UserError(
            f"the tables must be written to {folder}, it refused ({error.strerror}); choose "
            "another --out"
        ) from error
    return text
