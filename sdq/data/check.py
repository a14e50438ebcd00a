"""What a task's data are like, before anything is computed with them: counts and warnings. Needs no
torch."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sdq.data.cells import same_number
from sdq.data.languages import same
from sdq.data.pieces import lead_with_space_
from sdq.data.task import SPLITS, Example, Task
from sdq.settings import ASSETS, UserError, listed

TOKENIZER = ASSETS / "mini" / "encoder" / "tokenizer.json"
MEASURED = 2000  # inputs that are tokenized, spread evenly over all
IMBALANCE = 20  # the commonest label this many times as often as the rarest
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")  # without a width
FEW = 30  # test sentences of a language


@dataclass(frozen=True)
class Checked:
    """`counts`: split, language, label, count (sentences; of tags, words). `sentences`: split,
    language, sentences, empty (texts). `cut`: share 0..1 of inputs longer than the task allows.
    `warnings`: one sentence each."""

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
    warnings = [said for _, said in _warnings(task, counts, sentences)]
    if cut > 0:
        warnings.append(
            f"About {100 * cut:.1f} % of inputs are longer than {task.longest} subwords (counted "
            "with the tokenizer of mini) and are cut; raise `longest` if their ends matter."
        )
    return Checked(counts, sentences, cut, (*task.remarks, *warnings))


def bearing(task: Task) -> tuple[str, ...]:
    """What of a task's data bears on its test scores, for whoever reads these: what was noticed
    when they were read, and of each kind of warning one sentence."""
    return (*task.remarks, *_bearing(task))


def _bearing(task: Task) -> tuple[str, ...]:
    key = (task.name, task.fingerprint)
    if key not in _BEARING:
        kinds: dict[str, list[str]] = defaultdict(list)
        for kind, said in _warnings(task, *_counted(task)):
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
        (split, e.language) for split, e in everything if _is_empty(e)
    )
    sentences = pd.DataFrame(
        [(*key, n, empty[key]) for key, n in texts.items()],
        columns=["split", "language", "sentences", "empty"],
    )
    return counts, sentences


def words(task: Task, found: Checked) -> str:
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
    lines += [_wide(found.sentences, "language", "split", "sentences", task.languages, SPLITS)]
    for split in SPLITS:
        mine = found.counts[found.counts["split"] == split]
        lines += [
            "",
            f"{split}: {'words' if task.kind == 'token' else 'sentences'} with each label",
            _wide(mine, "label", "language", "count", task.labels, task.languages),
        ]
    return "\n".join(
        [
            *lines,
            "",
            *(f"warning: {warning}" for warning in found.warnings),
            *([] if found.warnings else ["no warnings"]),
        ]
    )


def as_json(task: Task, found: Checked) -> str:
    """What was found, as one JSON object."""
    tables = {
        "sentences": found.sentences.to_dict("records"),
        "counts": found.counts.to_dict("records"),
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
            "cut": found.cut,
            "warnings": found.warnings,
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


class Warned(NamedTuple):
    """A warning: its kind, "" if it bears on no test score, and the sentence."""

    kind: str
    said: str


def _warnings(task: Task, counts: pd.DataFrame, sentences: pd.DataFrame) -> Iterator[Warned]:
    yield from _repeated(task)
    yield from _alike(task)
    yield from _absent(task)
    if task.kind != "retrieval":  # whose labels are the sentences themselves
        yield from _of_labels(task, counts)
    for row in sentences[sentences["empty"] > 0].itertuples():
        yield Warned(
            "empty" * (row.split == "test"),
            f"{row.empty:,} of {row.sentences:,} texts are empty in {row.split}, {row.language}: "
            "they are answered all the same.",
        )
    several = len(set(sentences.loc[sentences["split"] == "train", "language"])) > 1
    for split in ("test", *(("train",) if several else ())):
        there = set(sentences.loc[sentences["split"] == split, "language"])
        missing = [code for code in task.languages if code not in there]
        if missing:
            said = f"The {split} split has no sentences in {', '.join(missing)}."
            yield Warned("missing" * (split == "test"), said)
    tested = sentences[sentences["split"] == "test"].set_index("language")["sentences"]
    few = [code for code, n in tested.items() if n < FEW]
    if few:
        yield Warned(
            "few",
            f"Fewer than {FEW} test sentences in {', '.join(map(str, few))}: no difference there "
            "can be told from chance.",
        )
    if list(tested.index) == [task.labelled]:
        yield Warned(
            "one language",
            f"The only test language is {task.labelled}, the language of training: what "
            "quantization costs there can be measured, but nothing can be said about transfer to "
            "others; add test sentences in other languages.",
        )


def _of_labels(task: Task, counts: pd.DataFrame) -> Iterator[Warned]:
    """Labels that a model cannot learn, and those it need not."""
    mine = counts[(counts["split"] == "train") & (counts["language"] == task.labelled)]
    trained = mine.set_index("label")["count"]
    for split in ("dev", "test"):
        unseen = sorted(set(counts.loc[counts["split"] == split, "label"]) - set(trained.index))
        if unseen:
            yield Warned(
                "unseen" * (split == "test"),
                f"{_some(unseen)} {_occur(unseen)} in {split} and never in the training sentences "
                f"of {task.labelled}: a model cannot learn {'them' if len(unseen) > 1 else 'it'}.",
            )
    if len(trained) and trained.max() >= IMBALANCE * trained.min():
        much, little = trained.idxmax(), trained.idxmin()
        yield Warned(  # most words are outside of every span
            "unbalanced" * (task.kind != "token"),
            f"Labels are unbalanced in training: {trained.max():,} times {much}, {trained.min():,} "
            f"times {little}; {task.metric} may hide that rare ones are never answered.",
        )


def folded(text: str) -> str:
    """A text without what two copies of it may differ in: Unicode form, case, white space,
    characters without a width."""
    if text.isascii():  # most of it is, and needs no table of Unicode
        return " ".join(text.lower().split())
    return " ".join(
        _INVISIBLE.sub(
            "", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        ).split()
    )


def _repeated(task: Task) -> Iterator[Warned]:
    """What is in more than one split: it makes scores too good."""
    homes: dict[bytes, dict[str, set[bytes]]] = defaultdict(
        lambda: defaultdict(set)
    )  # what is folded -> split -> what was written
    for split in SPLITS:
        for e in task.splits[split]:
            if not _is_empty(e):
                homes[_digest(e.language, folded(e.text), folded(e.second or ""))][split].add(
                    _digest(e.text.strip(), (e.second or "").strip())
                )
    for one, two in (("train", "dev"), ("train", "test"), ("dev", "test")):
        both = [splits for splits in homes.values() if one in splits and two in splits]
        if both:
            other = sum(not splits[one] & splits[two] for splits in both)
            but = (
                f" ({other:,} of them in another case, white space or Unicode form)"
                if other
                else ""
            )
            verb = " is" if len(both) == 1 else "s are"
            yield Warned(
                "repeated" * (two == "test"),
                f"{len(both):,} text{verb} in {one} and in {two}{but}: scores come out too good; "
                "take them out of one of the two.",
            )


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def _alike(task: Task) -> Iterator[Warned]:
    """Labels and languages that are written in two ways."""
    names: dict[str, list[str]] = defaultdict(list)
    for label in task.labels if task.kind != "retrieval" else ():
        names[same_number(label) or folded(label)].append(label)
    for written in names.values():
        if len(written) > 1:
            shown = listed(map(repr, written), 5)
            yield Warned(
                "labels alike",
                f"The labels {shown} differ only in how they are written: they count as "
                f"{len(written)} labels; map them to one under `labels` if they are one.",
            )
    for i, code in enumerate(task.languages):
        for other in task.languages[:i]:
            if same(code, other):
                yield Warned(
                    "languages alike",
                    f"The languages {other} and {code} are one language: they are scored apart; "
                    "give both one code under `languages`.",
                )


def _absent(task: Task) -> Iterator[Warned]:
    """Languages of an official benchmark whose files are not there."""
    if not task.name.startswith("xglue:"):
        return
    from sdq.data.xglue import TASKS

    named = Path(task.name).name.partition("@")[0]
    missing = (
        [code for code in TASKS[named].languages.split() if code not in task.languages]
        if named in TASKS
        else []
    )
    if missing:
        yield Warned(
            "absent",
            f"XGLUE tests {named} in {len(missing) + len(task.languages)} languages, files in "
            f"{', '.join(missing)} are not there: means over languages cannot be compared with "
            "published ones; extract the whole archive.",
        )


def _is_empty(example: Example) -> bool:
    return not _INVISIBLE.sub("", example.text).strip() or (
        example.second is not None and not _INVISIBLE.sub("", example.second).strip()
    )


def _some(labels: Sequence[str]) -> str:
    return listed(labels, 5) + (" labels" if len(labels) > 5 else "")


def _occur(labels: Sequence[str]) -> str:
    return "occurs" if len(labels) == 1 else "occur"


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
