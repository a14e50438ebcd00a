"""What pages read is shared by all visitors: a page that changes it would change it for
everybody."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pages.components import changed_answers, runs, sentences
from sdq.store import Store
from sdq.store.identity import unreplaced
from tests.helpers import made_up_inspection
from tests.helpers.flips import filled, ids
from tests.helpers.pages import opened

PAGES = (
    "inspect/examples",
    "inspect/flips",
    "inspect/weights",
    "inspect/activations",
    "compare/languages",
    "compare/zero_shot",
    "compare/methods",
)


def shared(store: Store, names: dict[str, str]) -> list[tuple[Any, tuple[Any, ...]]]:
    """(cached function, arguments) of what several pages read."""
    folder, task = str(store.folder), "intent"
    fp32, ptq, sdq = (names[name] for name in ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8"))
    return [
        (runs._read, (folder, store.listing())),
        (sentences._sentences, (task, unreplaced(store.report(ptq), store))),
        (sentences.drops, (folder, (ptq, sdq), fp32)),
        (sentences.compared, (folder, fp32, ptq, task)),
        (sentences._flips_tested, (folder, fp32, ptq)),
        (changed_answers.answers, (folder, fp32, ptq, task)),
    ]


def test_no_page_changes_what_all_share(store: Store) -> None:
    reports = filled(store)
    made_up_inspection.write(store, reports["ptq-w3a8"].run)
    read = shared(store, {name: report.run for name, report in reports.items()})
    before = [cached(*arguments) for cached, arguments in read]
    for page in PAGES:
        assert not opened(f"pages/{page}.py", runs=ids(reports), language="sw").exception
    for (cached, arguments), kept in zip(read, before, strict=True):
        assert cached(*arguments) is kept, f"{cached.__name__} is read once and shared"
        fresh = cached.__wrapped__(*arguments)
        if isinstance(fresh, pd.DataFrame):
            pd.testing.assert_frame_equal(kept, fresh)
        else:
            assert kept == fresh


@pytest.mark.parametrize("page", PAGES)
def test_a_second_look_is_the_same(store: Store, page: str) -> None:
    reports = filled(store)
    first, second = (opened(f"pages/{page}.py", runs=ids(reports), language="sw") for _ in range(2))
    assert len(first.dataframe) == len(second.dataframe)
    for one, two in zip(first.dataframe, second.dataframe, strict=True):
        pd.testing.assert_frame_equal(one.value, two.value)
