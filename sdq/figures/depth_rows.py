"""The numbers of the pictures through depth, picked from stored depth tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from sdq.figures.curves import MEASURES, OTHERS, axis
from sdq.labels import ROLE_LABELS, language_name, module_label
from sdq.results import EVERY, NO_ERROR_DB

# the module whose weights produce an output, or most of it
_LEADS_TO = {
    "block": "ffn_out",
    "attention": "attention_output",
    "attention_query": "q",
    "attention_key": "k",
    "attention_probs": "q",
    "attention_value": "v",
    "ffn_activation": "ffn_in",
    "residual": "ffn_out",
    "layernorm": "ffn_out",
}
COLUMNS = ["run", "layer", "type", "block", "language", "error", "value", "site", "weights", "id"]


def behind(table: pd.DataFrame) -> dict[str, str]:
    """Site -> the module whose weights to look at: itself, or that of its block which makes it. A
    shared module has a site for each of its runs ("name@3"), but weights only once."""
    sites = table.drop_duplicates("site")
    at = {
        (role, block): site
        for site, role, block in zip(sites["site"], sites["role"], sites["block"], strict=True)
    }
    modules = {
        site: at.get((_LEADS_TO.get(role, ""), block), site)
        for site, role, block in zip(sites["site"], sites["role"], sites["block"], strict=True)
    }
    return {site: module.partition("@")[0] for site, module in modules.items()}


def rows(
    errors: Mapping[str, pd.DataFrame],
    names: Mapping[str, str],
    measure: str,
    *,
    error: str = "accumulated",
    roles: Sequence[str] = ("block",),
    language: str | None = EVERY,
) -> pd.DataFrame:
    """The numbers of a picture: one row per run, site and language, in forward order; None is every
    single language.

    `errors`: run id -> its depth table, `names`: run id -> its name. `value` is the measure (its
    unit is in MEASURES), missing where SQNR has no error to measure. `weights` is the module that
    produces the site. Empty (with COLUMNS) if no run has such rows.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    parts = []
    for run, table in errors.items():
        spoken = table["language"] != EVERY if language is None else table["language"] == language
        selected = table[
            (table["measure"] == error) & table["role"].isin(roles) & spoken
        ].sort_values(["language", "order"])
        if not len(selected):
            continue
        label = [
            module_label(site, role, block)
            for site, role, block in zip(
                selected["site"], selected["role"], selected["block"], strict=True
            )
        ]
        value = (
            selected[measure].where(selected["sqnr_db"] < NO_ERROR_DB)
            if measure == "sqnr_db"
            else selected[measure]
        )
        part = selected[["block", "language", "site"]].assign(
            run=names[run], id=run, layer=label, error=error, value=value
        )
        parts.append(
            part.assign(
                type=selected["role"].map(ROLE_LABELS), weights=selected["site"].map(behind(table))
            )
        )
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def language_rows(
    table: pd.DataFrame, run: str, name: str, labelled: str, measure: str
) -> pd.DataFrame:
    """Accumulated error of one run at its block outputs, per language and on average, with a column
    `line`: what the row is drawn as.

    Worst and best are read at the last block, among the languages other than `labelled`.
    """
    each = rows({run: table}, {run: name}, measure, language=None)
    last = each[(each["block"] == each["block"].max()) & (each["language"] != labelled)].dropna(
        subset="value"
    )
    order = last.sort_values("value", ascending=MEASURES[measure].higher_is_better)[
        "language"
    ].tolist()
    lines = {labelled: language_name(labelled)}
    if len(order) > 1:
        lines |= {
            order[0]: f"{language_name(order[0])} (worst)",
            order[-1]: f"{language_name(order[-1])} (best)",
        }
    mean = each.drop_duplicates("block")
    mean = mean.assign(value=mean["block"].map(each.groupby("block")["value"].mean()))
    count = each["language"].nunique()
    each["line"] = each["language"].map(lambda code: lines.get(code, OTHERS))
    lined = pd.concat(
        [each, mean.assign(language="mean", line=f"mean of {count}")], ignore_index=True
    )
    return lined.sort_values(
        "line", key=lambda line: line.eq(OTHERS), kind="stable", ascending=False, ignore_index=True
    )


def token_rows(
    tokens: Mapping[str, pd.DataFrame],
    samples: Mapping[str, pd.DataFrame],
    names: Mapping[str, str],
    language: str,
    example: str,
) -> pd.DataFrame:
    """One row per run, block and token of the sentence `example` in `language`: run, block,
    position, token, value (relative L2). Empty if no run looked at it."""
    parts = []
    for run, table in tokens.items():
        sample = samples[run]
        analysed = sample[(sample["language"] == language) & (sample["id"] == example)]
        if len(analysed):
            pieces = list(analysed.iloc[0]["tokens"])
            errors = table[table["sentence"] == analysed.iloc[0]["sentence"]].sort_values(
                ["block", "position"]
            )
            token = [pieces[position] for position in errors["position"]]
            parts.append(
                errors[["block", "position"]].assign(
                    run=names[run], token=token, value=errors["relative_l2"]
                )
            )
    wanted = ["run", "block", "position", "token", "value"]
    return pd.concat(parts, ignore_index=True)[wanted] if parts else pd.DataFrame(columns=wanted)


def worst_module(table: pd.DataFrame) -> str:
    """The module with the largest local relative L2 error over all languages; the first one if none
    was measured."""
    local = table[(table["measure"] == "local") & (table["language"] == EVERY)]
    local = local[~local["role"].isin(list(_LEADS_TO))]
    return str(
        local.loc[local["relative_l2"].idxmax(), "site"] if len(local) else table["site"].iloc[0]
    )


def measured(table: pd.DataFrame) -> dict[str, str]:
    """Module -> its label, in forward order: what can be looked at more closely."""
    sites = table[~table["role"].isin(list(_LEADS_TO))].drop_duplicates("site").sort_values("order")
    return {
        site: module_label(site, role, block)
        for site, role, block in zip(sites["site"], sites["role"], sites["block"], strict=True)
    }


def titled(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The table as people see it: the value's column says what it is."""
    return table.rename(columns={"value": axis(measure), "id": "run id", "floor": "noise floor"})
