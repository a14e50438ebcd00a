"""What a task's data are like, before anything is computed with them: counts and warnings. Needs no
torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.data.pieces import lead_with_space_
from sdq.data.task import SPLITS, Example, Task
from sdq.data.warnings import RULES, all_warnings, is_empty
from sdq.io.files import write_text
from sdq.settings import ASSETS, UserError, visible

TOKENIZER = ASSETS / "mini" / "encoder" / "tokenizer.json"
MEASURED = 2000  # inputs that are tokenized, spread evenly over all


@dataclass(frozen=True)
class Checked:
    """What was counted in a task's data.

    counts: a table of split, language, label, count (sentences; of tags, words)
    sentences: a table of split, language, sentences, empty (texts)
    cut: share, 0..1, of inputs longer than the task allows
    warnings: one sentence each
    """

    counts: pd.DataFrame
    sentences: pd.DataFrame
    cut: float
    warnings: tuple[str, ...]


def check(task: Task, tokenizer: Path = TOKENIZER) -> Checked:
    """Counts per split, language and label, and what may spoil a result. Lengths are measured with
    a tokenizer.json, by default that of `mini`."""
    everything = [e for split in SPLITS for e in task.splits[split]]
    counts, sentences = _counted(task)
    cut = _cut(task, everything, tokenizer)
    warnings = [said for _, said in all_warnings(task, counts, sentences)]
    if cut > 0:
        warnings.append(
            f"About {100 * cut:.1f} % of inputs are longer than {task.longest} subwords (counted "
            "with the tokenizer of mini) and are cut; raise `longest` if their ends matter."
        )
    return Checked(counts, sentences, cut, (*task.remarks, *warnings))


def bearing(task: Task, folder: Path | None = None) -> tuple[str, ...]:
    """What of a task's data bears on its test scores, for whoever reads these: what was noticed
    when they were read, and of each kind of warning one sentence.

    folder: a data folder, where the sentences are kept for the next run on the same data
    """
    if folder is None:
        return (*task.remarks, *_bearing(task))
    key = json.dumps([RULES, task.name, task.fingerprint])
    path = folder / "warnings" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if (said := _read(path)) is None:
        said = _bearing(task)
        with contextlib.suppress(OSError):  # found again by the next run
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"said": said, "sha256": _sum(said)}))
    return (*task.remarks, *said)


def _read(path: Path) -> tuple[str, ...] | None:
    """What is kept there; None if it is not, or not as it was written."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        said = tuple(kept["said"])
        return said if kept["sha256"] == _sum(said) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _sum(said: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _bearing(task: Task) -> tuple[str, ...]:
    key = (task.name, task.fingerprint)
    if key not in _BEARING:
        kinds: dict[str, list[str]] = defaultdict(list)
        for kind, said in all_warnings(task, *_counted(task)):
            if kind:
                kinds[kind].append(said)
        more = {
            kind: f" ({len(said) - 1} more of this kind)"
            for kind, said in kinds.items()
            if said[1:]
        }
        if len(_BEARING) > 16:
            _BEARING.clear()
        _BEARING[key] = tuple(
            f"{said[0].removesuffix('.')}{more.get(kind, '')}." for kind, said in kinds.items()
        )
    return _BEARING[key]


_BEARING: dict[tuple[str, str], tuple[str, ...]] = {}  # (name, fingerprint) of a task -> sentences


def _counted(task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`counts` and `sentences` of Checked."""
    everything = [(split, e) for split in SPLITS for e in task.splits[split]]
    labels: Counter[tuple[str, str, str]] = Counter(
        (split, e.language, label) for split, e in everything for label in e.targets
    )
    counts = pd.DataFrame(
        [(*key, n) for key, n in labels.items()], columns=["split", "language", "label", "count"]
    )
    texts: Counter[tuple[str, str]] = Counter((split, e.language) for split, e in everything)
    empty: Counter[tuple[str, str]] = Counter(
        (split, e.language) for split, e in everything if is_empty(e)
    )
    sentences = pd.DataFrame(
        [(*key, n, empty[key]) for key, n in texts.items()],
        columns=["split", "language", "sentences", "empty"],
    )
    return counts, sentences


def summary(task: Task, checked: Checked) -> str:
    """What was found, for a terminal: sentences by language and split, labels by split and
    language, warnings."""
    kind = task.file_kind or {"sequence": "sentence"}.get(task.kind, task.kind)
    lines = [
        f"{task.called}: {kind}, {len(task.labels)} labels, scored by {task.metric}, trained on "
        f"{task.labelled}",
        "",
    ]
    if task.tagging is not None:
        lines[1:] = [f"tags: {task.tagging.scheme or 'of no scheme'}: {task.tagging.counted}", ""]
    lines += [_wide(checked.sentences, "language", "split", "sentences", task.languages, SPLITS)]
    for split in SPLITS:
        part = checked.counts[checked.counts["split"] == split]
        lines += [
            "",
            f"{split}: {'words' if task.kind == 'token' else 'sentences'} with each label",
            _wide(part, "label", "language", "count", task.labels, task.languages),
        ]
    lines += ["", *(f"warning: {warning}" for warning in checked.warnings)]
    return visible("\n".join([*lines, *([] if checked.warnings else ["no warnings"])]))


def as_json(task: Task, checked: Checked) -> str:
    """What was found, as one JSON object."""
    tables = {
        "sentences": checked.sentences.to_dict("records"),
        "counts": checked.counts.to_dict("records"),
    }
    tags = (
        {}
        if task.tagging is None
        else {"metric": task.metric, "scheme": task.tagging.scheme, "spans": task.tagging.counted}
    )
    return json.dumps(
        {
            "task": task.name,
            "name": task.called,
            "fingerprint": task.fingerprint,
            **tags,
            **tables,
            "cut": checked.cut,
            "warnings": checked.warnings,
        },
        ensure_ascii=False,
    )


def _wide(
    table: pd.DataFrame,
    rows: str,
    columns: str,
    values: str,
    down: Sequence[str],
    across: Sequence[str],
) -> str:
    """Rows by columns, as text; 0 where there is nothing."""
    wide = table.pivot_table(
        index=rows, columns=columns, values=values, aggfunc="sum", fill_value=0
    )
    shown: str = (
        wide.reindex(index=list(down), columns=[c for c in across if c in wide], fill_value=0)
        .rename_axis(index=None, columns=None)
        .to_string()
    )
    return shown


def _cut(task: Task, examples: list[Example], file: Path) -> float:
    """Share of inputs that are cut, of a sample of them."""
    from tokenizers import Tokenizer

    sample = examples[:: max(1, len(examples) // MEASURED)]
    try:
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(
            f"a tokenizer must be a tokenizer.json, {file} is none; name the file of another model"
        ) from error
    tokenizer.enable_truncation(task.longest)
    if task.kind == "token":
        lead_with_space_(tokenizer, f"the tokenizer {file}")
    if task.kind == "token":
        coded = tokenizer.encode_batch([list(e.words) for e in sample], is_pretokenized=True)
    else:
        coded = tokenizer.encode_batch(
            [e.text if e.second is None else (e.text, e.second) for e in sample]
        )
    return sum(bool(c.overflowing) for c in coded) / max(1, len(sample))
