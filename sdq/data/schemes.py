"""Which scheme a task's tags are of, and which one a model answers in. Needs no torch.

A scheme is recognised from the gold tags of all splits, or was asked for in the task file. Tags of
no scheme (parts of speech, numbers) make no spans.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sdq.data.tagging import NO_ANSWER, ROLES, SPAN_METRICS, UPOS, Scheme, Tagging, parsed
from sdq.settings import UserError, listed

_LETTERS = {"IOB1": "BIM", "IOB2": "BIM", "IOBES": "BIMESWUL", "BILOU": "BIMLUESW"}
_DELIMITERS = "-_.:/|"
_SHOWN = 5


def recognised(sentences: Iterable[Sequence[str]], labels: Iterable[str] = ()) -> Tagging | None:
    """The scheme of gold tags, sentence by sentence; None if they are of none. `labels`: further
    tags that a model may give."""
    pairs = _pairs(sentences := list(sentences))
    often = Counter(tag for tags in sentences for tag in tags)
    names = {*labels, *often}
    if not names - {"O"}:
        return None
    for suffix in (False, True):
        for delimiter in _DELIMITERS:
            if all(parsed(tag, delimiter, suffix) for tag in names):
                return _by_letters(Tagging(None, delimiter, suffix), pairs, names) or _runs(
                    names, often
                )
    return _runs(names, often)


def _by_letters(form: Tagging, pairs: Counter[tuple[str, str]], names: set[str]) -> Tagging | None:
    letters = {tag[-1] if form.suffix else tag[0] for tag in names if tag != "O"}
    roles = {ROLES[letter] for letter in letters}
    if len(roles) < len(letters):
        return None  # two letters for one thing
    if not roles & {"E", "S"}:
        candidates: tuple[Scheme, ...] = ("IOB2", "IOB1") if "B" in roles else ("IOB1",)
    elif ("B" in roles) == ("E" in roles) and ("B" in roles or "I" not in roles):
        candidates = ("BILOU",) if letters & {"L", "U"} else ("IOBES",)
    else:
        return None  # ends without beginnings, or beginnings without ends
    odd = {scheme: _ill_formed(replace(form, scheme=scheme), pairs) for scheme in candidates}
    # the first at a tie, IOB2: the usual one
    best = min(candidates, key=lambda scheme: odd[scheme].total())
    said = []
    if roles == {"I"}:
        said.append(
            "no tag begins with B-, so that IOB1 and IO are the same: a run of one kind is one span"
        )
    return replace(form, scheme=best, said=(*said, *_said_ill_formed(best, odd[best])))


def _said_ill_formed(scheme: Scheme, odd: Counter[tuple[str, str]]) -> tuple[str, ...]:
    """What to say of the neighbours that a scheme does not allow; nothing if there are none."""
    if not odd:
        return ()
    (before, tag), n = odd.most_common(1)[0]
    where = f"{tag} at the beginning or after O" if before == "O" else f"{before} before {tag}"
    return (
        f"tags are ill-formed in {scheme} at {odd.total():,} "
        f"place{'' if odd.total() == 1 else 's'}, most often {where} ({n:,}), and what "
        "makes no whole span is not counted; correct the data, or set `scheme` to conlleval, "
        "which counts ill-formed spans too",
    )


def _pairs(sentences: Iterable[Sequence[str]]) -> Counter[tuple[str, str]]:
    """How often which tag follows which, with O at both ends: they tell what is ill-formed."""
    pairs: Counter[tuple[str, str]] = Counter()
    for tags in sentences:
        pairs.update(zip(("O", *tags), (*tags, "O"), strict=True))
    return pairs


def _ill_formed(tagging: Tagging, pairs: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """The neighbours that a scheme does not allow."""
    bad_pairs: Counter[tuple[str, str]] = Counter()
    for (before, tag), n in pairs.items():
        was, now = (
            parsed(one, tagging.delimiter, tagging.suffix) or ("O", "") for one in (before, tag)
        )
        goes_on = was[0] in "BI" and was[1] == now[1]
        if tagging.scheme == "IOB2":
            bad = now[0] == "I" and not goes_on
        elif tagging.scheme == "IOB1":
            bad = now[0] == "B" and not goes_on
        else:  # whatever is begun goes on to its end, and nothing goes on that was not begun
            bad = (was[0] in "BI" or now[0] in "IE") and not (goes_on and now[0] in "IE")
        if bad:
            bad_pairs[before, tag] += n
    return bad_pairs


def _runs(names: set[str], often: Counter[str]) -> Tagging | None:
    """IO, for tags without letters among which O is outside; None where O looks like a part of
    speech, or some tags have letters."""
    others = names - {"O"}
    if (
        "O" not in names
        or others <= UPOS | {"_"}
        or any(re.match(r"[BI][\W_].", tag) for tag in others)
    ):
        return None
    if all(len(tag) == 1 for tag in others) and often["O"] < max(often.values(), default=0):
        return None  # parts of speech in one letter (Gimpel et al. 2011), of which O is the pronoun
    return Tagging(
        "IO",
        said=(
            "tags have no B- or I-: a span is a run of words with the same tag, and O is outside",
        ),
    )


CONLLEVAL_COUNTS = 'set "scheme": "conlleval" in task.json, which counts both'


def foreign(tagging: Tagging, labels: Sequence[str], extra: Sequence[str]) -> tuple[str, str]:
    """What to say of the tags that a model can answer beside the labels of a task.

    tagging: how the task's tags make spans
    labels: the task's tags
    extra: the model's further tags

    Returns (why its spans cannot be counted, what to remark on), each "" where there is nothing to
    say.
    """
    roles = {tag: parsed(tag, tagging.delimiter, tagging.suffix) for tag in (*labels, *extra)}
    ends = [tag for tag in extra if (role := roles[tag]) and role[0] in "ES"]
    letters = {tag[-1 if tagging.suffix else 0] for tag in ends}
    model_scheme = "BILOU" if letters & {"L", "U"} else "IOBES"
    if ends and tagging.scheme in ("IOB1", "IOB2"):
        return (
            f"the model must tag in the scheme of the task, its tags are {model_scheme} "
            f"({listed(ends, _SHOWN)}) and the task's {tagging.scheme}, which counts no span with "
            f"them; {CONLLEVAL_COUNTS}, or take a model that was trained on {tagging.scheme}"
        ), ""
    if letters & {"L", "U", "W"} and tagging.scheme == "conlleval":
        return "", (
            f"the model's tags are {model_scheme} ({listed(ends, _SHOWN)}), of which conlleval "
            "knows no L-, U- and W-: neighbours of one kind count as one span; call them E- and S- "
            "in the model's id2label"
        )
    begins = [tag for tag in extra if (role := roles[tag]) and role[0] == "B"]
    if (
        begins
        and tagging.scheme == "IOB1"
        and not any(r and r[0] == "B" for r in map(roles.get, labels))
    ):
        return "", (
            f"the model can also answer {listed(begins, _SHOWN)}, the task's tags are IOB1 without "
            f"any B-: if the model's are IOB2, {CONLLEVAL_COUNTS}"
        )
    return "", ""


_INSTEAD = {"E": "LI", "L": "EI", "S": "UB", "U": "SB", "W": "SUB", "M": "I"}


def written_as(tags: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Tag -> what it is called in the scheme of `names`: S-PER is U-PER, or B-PER. Empty if one of
    them is not among the names by another letter."""
    there = {*names}
    renamed = {
        tag: next(
            (one + tag[1:] for one in _INSTEAD.get(tag[:1], "") if one + tag[1:] in there), ""
        )
        for tag in tags
    }
    return renamed if all(renamed.values()) else {}


def scheme_of(labels: Sequence[str]) -> str:
    """The scheme of tags, by their letters alone, in words."""
    form = recognised((), labels)
    return form.scheme if form is not None and form.scheme is not None else "of another scheme"


def mismatched(tagging: Tagging, answers: Iterable[Sequence[str]]) -> str:
    """What to say of answers most of whose spans the scheme of the task does not count as they are
    meant, as they are written in another; "" where there is nothing to say."""
    other: dict[Scheme | None, Scheme] = {"IOB1": "IOB2", "IOB2": "IOB1"}
    if tagging.scheme not in other:
        return ""
    other_tagging = replace(tagging, scheme=other[tagging.scheme])
    pairs: Counter[tuple[str, str]] = Counter()
    spans = 0
    for tags in answers:
        pairs.update(zip(("O", *tags), (*tags, "O"), strict=True))
        spans += len(other_tagging.spans(tags))
    odd, less = (_ill_formed(one, pairs).total() for one in (tagging, other_tagging))
    if 2 * odd <= spans or less >= odd:
        return ""
    return (
        f"the FP32 model's answers are ill-formed in {tagging.scheme}, the scheme of the task, at "
        f"{odd:,} place{'' if odd == 1 else 's'}, where no span or half a span is counted, and in "
        f"{other_tagging.scheme} at {less:,}: if the model was trained on {other_tagging.scheme}, "
        f"{CONLLEVAL_COUNTS}"
    )


def metrics_for(sentences: Iterable[Sequence[str]], labels: Iterable[str] = ()) -> tuple[str, ...]:
    """The metrics that these tags can be scored by, the one to propose first."""
    return (
        ("token_accuracy",)
        if recognised(sentences, labels) is None
        else ("f1", "precision", "token_accuracy")
    )


def settled(
    metric: str,
    beside: Sequence[str],
    scheme: Scheme | None,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[str],
    task: str,
) -> tuple[str, Tagging]:
    """(the metric that counts, how tags make spans) of a task.

    metric, scheme: what was asked for, "" and None if nothing was
    beside: metrics that are reported beside it
    sentences: the gold tags of all splits
    labels: the task's tags
    task: its name, for errors

    UserError if spans are asked for and the tags make none, or the tags are not of the scheme
    that was asked for.
    """
    if NO_ANSWER in labels:
        raise UserError(
            f"a tag must not be {NO_ANSWER}, which stands for a word without an answer, task "
            f"{task} has it; rename it under `labels`"
        )
    if (
        odd := next((label for label in labels if not label or re.search(r"\s", label)), None)
    ) is not None:
        raise UserError(
            f"a tag must have a name without spaces, task {task} has {odd[:40]!r}; rename it under "
            "`labels`"
        )
    if scheme == "IO":
        return metric or "f1", Tagging("IO")
    tagging = recognised(sentences, labels)
    if scheme is not None:
        return metric or "f1", _asked(scheme, tagging, sentences, labels, task)
    if tagging is not None:
        return metric or "f1", tagging
    shown = listed(labels, _SHOWN)
    wanted = next((name for name in (metric, *beside) if name in SPAN_METRICS), None)
    if wanted is not None:
        raise UserError(
            f"the metric {wanted} counts spans, whose tags must be of IOB1, IOB2, IOBES, BILOU or "
            f"IO, task {task} has {shown}; {_remedy(labels)}, or set `metric: token_accuracy`"
        )
    if metric:
        return metric, Tagging(None)
    return "token_accuracy", Tagging(
        None,
        said=(
            f"the tags {shown} are of no scheme of spans, and answers are scored by token "
            f"accuracy, not by span F1; if they mean spans, {_remedy(labels)}",
        ),
    )


def _asked(
    scheme: Scheme,
    tagging: Tagging | None,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[str],
    task: str,
) -> Tagging:
    """How tags make spans by the scheme that a task file asks for."""
    form = tagging or Tagging(None)
    if scheme == "conlleval":
        return Tagging("conlleval", suffix=form.suffix)
    for suffix in (form.suffix, not form.suffix):
        for delimiter in (form.delimiter, *_DELIMITERS):
            if all(
                tag == "O"
                or (parsed(tag, delimiter, suffix) and tag[-1 if suffix else 0] in _LETTERS[scheme])
                for tag in labels
            ):
                if tagging is not None and tagging.scheme == scheme:
                    return Tagging(scheme, delimiter, suffix, tagging.said)
                asked = Tagging(scheme, delimiter, suffix)
                odd = _ill_formed(asked, _pairs(sentences))
                return replace(asked, said=_said_ill_formed(scheme, odd))
    raise UserError(
        f"`scheme` is {scheme}, whose tags must be O or begin with one of its letters, task {task} "
        f"has {listed(labels, _SHOWN)}; take `scheme` out, or set conlleval"
    )


def _remedy(labels: Sequence[str]) -> str:
    if all(re.fullmatch(r"-?\d+", label) for label in labels):
        return 'say what each number means under `labels` ({"0": "O", "1": "B-PER"})'
    return "rename them under `labels`, or set `scheme`"
