"""Datasets of the Hugging Face Hub by declared entries: fetched once into the data folder, where
they are task files like any other.

What is fetched is Parquet from the branch the Hub keeps for every dataset, refs/convert/parquet,
laid out CONFIGURATION/SPLIT/NNNN.parquet: no code of a dataset is ever run. Needs no torch.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdq.data.kept import home
from sdq.data.taskfile import Columns, Kind, TaskFile
from sdq.io.files import LOCK, alone, replacing, write_text
from sdq.settings import UserError, unwritable

CACHE = ".cache"  # of what is fetched, until all of it is here
SECONDS = 5.0  # within which the Hub must answer the first question
ROOT = "hf://datasets/{repository}@refs%2Fconvert%2Fparquet/{configuration}/{split}/*.parquet"


@dataclass(frozen=True)
class Entry:
    """One dataset: its repository, one configuration per language (code -> configuration), and
    which columns hold what."""

    title: str
    repository: str
    kind: Kind
    configurations: dict[str, str]
    columns: Columns
    licence: str
    splits: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "train": ("train",),
            "dev": ("validation", "dev"),
            "test": ("test",),
        }
    )
    labels: tuple[str, ...] = ()
    longest: int = 128


def _each(codes: str) -> dict[str, str]:
    """Configurations that are called like their languages ("de"), or otherwise ("de:de_gsd")."""
    return {
        code: named or code for code, _, named in (part.partition(":") for part in codes.split())
    }


# name -> entry, `hub:NAME`; a new dataset is one entry
ENTRIES: dict[str, Entry] = {
    "xnli": Entry(
        "XNLI",
        "facebook/xnli",
        "pair",
        _each("en ar bg de el es fr hi ru sw th tr ur vi zh"),
        Columns(text="premise", second="hypothesis", label="label"),
        "CC BY-NC 4.0",
    ),
    "pawsx": Entry(
        "PAWS-X",
        "google-research-datasets/paws-x",
        "pair",
        _each("en de es fr ja ko zh"),
        Columns(text="sentence1", second="sentence2", label="label", id="id"),
        "free, attribution (Google)",
    ),
    "wikiann": Entry(
        "WikiANN",
        "unimelb-nlp/wikiann",
        "token",
        _each("en ar bg de el es fr hi id it ja nl pl pt ru sw th tr ur vi zh"),
        Columns(tokens="tokens", tags="ner_tags"),
        "not stated; from Wikipedia, CC BY-SA",
    ),
    "udpos": Entry(
        "UD parts of speech",
        "universal-dependencies/universal_dependencies",
        "token",
        _each(
            "en:en_ewt ar:ar_padt bg:bg_btb de:de_gsd el:el_gdt es:es_gsd fr:fr_gsd hi:hi_hdtb "
            "it:it_isdt nl:nl_alpino pl:pl_lfg pt:pt_bosque ru:ru_gsd tr:tr_imst ur:ur_udtb "
            "vi:vi_vtb zh:zh_gsd"
        ),
        Columns(tokens="tokens", tags="upos"),
        "of each treebank, mostly CC BY-SA",
    ),
    "sib200": Entry(
        "SIB-200",
        "Davlan/sib200",
        "sentence",
        _each(
            "en:eng_Latn ar:arb_Arab bg:bul_Cyrl de:deu_Latn el:ell_Grek es:spa_Latn fr:fra_Latn "
            "hi:hin_Deva ru:rus_Cyrl sw:swh_Latn th:tha_Thai tr:tur_Latn ur:urd_Arab vi:vie_Latn "
            "zh:zho_Hans"
        ),
        Columns(text="text", label="category", id="index_id"),
        "CC BY-SA 4.0",
    ),
    "massive": Entry(
        "MASSIVE (intents)",
        "AmazonScience/massive",
        "sentence",
        _each(
            "en:en-US ar:ar-SA de:de-DE el:el-GR es:es-ES fr:fr-FR hi:hi-IN ru:ru-RU sw:sw-KE "
            "th:th-TH tr:tr-TR ur:ur-PK vi:vi-VN zh:zh-CN"
        ),
        Columns(text="utt", label="intent", id="id"),
        "CC BY 4.0",
    ),
    "amazon": Entry(
        "Amazon reviews",
        "mteb/amazon_reviews_multi",
        "sentence",
        _each("en de es fr ja zh"),
        Columns(text="text", label="label", id="id"),
        "of Amazon, for research",
        labels=("0", "1", "2", "3", "4"),
        longest=256,
    ),
}


def fetch(name: str, root: str = ROOT, tell: Callable[[str], None] = lambda text: None) -> Path:
    """The task file of an entry in the data folder; fetched there first if it is not. UserError
    with one sentence if that cannot be.

    name: one of ENTRIES
    root: pattern of its files; a local folder of the same layout serves as well
    tell: is told what is fetched
    """
    entry, folder = _entry(name), home() / f"hub-{name}"
    if (folder / "task.json").is_file():
        return folder / "task.json"
    if root == ROOT:
        _refuse_offline(entry)
    try:
        with alone(folder, lambda: tell(f"{entry.title}: waiting, another process fetches it")):
            if (folder / "task.json").is_file():  # by now
                return folder / "task.json"
            for left in folder.iterdir():  # of a process that was killed
                if left.name != LOCK:
                    shutil.rmtree(left, ignore_errors=True)
            for split in entry.splits:
                for code, configuration in entry.configurations.items():
                    if split == "test" or code == "en":  # labels are learned from English alone
                        tell(f"{entry.title}: {split}, {code}")
                        _keep(entry, configuration, split, folder / split / f"{code}.parquet", root)
            shutil.rmtree(folder / CACHE, ignore_errors=True)
            told = _described(name, entry).model_dump_json(indent=1, exclude_defaults=True)
            write_text(folder / "task.json", told)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder / "task.json"


def fetched(name: str) -> Path:
    """The task file of an entry that was fetched before. UserError if it was not: nothing is asked
    of the Hub."""
    title, path = _entry(name).title, home() / f"hub-{name}" / "task.json"
    if not path.is_file():
        raise UserError(
            f"{title} must be fetched from the Hub first, it is not in the data folder; run "
            f"`python -m sdq task check hub:{name}`"
        )
    return path


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise UserError(
            f"a Hub entry must be one of {', '.join(ENTRIES)}, got {name[:40]!r}; other datasets "
            "come in as files with a task file"
        )
    return ENTRIES[name]


def _described(name: str, entry: Entry) -> TaskFile:
    """The task file of what was fetched."""
    return TaskFile(
        name=f"hub-{name}",
        about=f"{entry.title}, {entry.repository} at the Hugging Face Hub; licence: "
        f"{entry.licence}",
        kind=entry.kind,
        splits={split: f"{split}/{{language}}.parquet" for split in ("train", "dev", "test")},
        columns=entry.columns,
        labels=entry.labels,
        languages=tuple(entry.configurations),
        training_language="en",
        longest=entry.longest,
    )


def _keep(entry: Entry, configuration: str, split: str, path: Path, root: str) -> None:
    """Write one split of one language as Parquet; numbers that stand for names become names."""
    table = _table(entry, configuration, split, root, path.parents[1] / CACHE)
    wanted = entry.columns.model_dump(exclude_none=True).values()
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise UserError(
            f"{entry.repository} must have the columns {', '.join(wanted)}, {missing[0]!r} is not "
            f"in {configuration}; the dataset has changed at the Hub"
        )
    table = table.select_columns(list(wanted))
    frame = table.to_pandas()
    for column, feature in table.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        where = f"{column} of {entry.repository}, {configuration}, {split}"
        if names and hasattr(feature, "feature"):
            frame[column] = [[_named(i, names, where) for i in tags] for tags in frame[column]]
        elif names:
            frame = frame[frame[column] >= 0]  # -1: not labelled
            frame[column] = [_named(i, names, where) for i in frame[column]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        frame.to_parquet(part, index=False)


def _named(number: Any, names: list[str], where: str) -> str:
    """What a number stands for. UserError if that is nothing, as -1 in a list of tags."""
    if not 0 <= number < len(names):
        raise UserError(
            f"a number must stand for one of {len(names)} names in {where}, got {number}; the "
            "dataset has changed at the Hub, give it as files with a task file"
        )
    return names[int(number)]


def _table(entry: Entry, configuration: str, split: str, root: str, cache: Path) -> Any:
    """One split of one configuration, under the first of its names that exists."""
    import datasets

    datasets.disable_progress_bars()
    failure: Exception | None = None
    for named in entry.splits[split]:
        files = root.format(repository=entry.repository, configuration=configuration, split=named)
        try:
            return datasets.load_dataset(
                "parquet", data_files=files, split="train", cache_dir=str(cache)
            )
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            failure = error
    said = (str(failure).strip().splitlines() or [type(failure).__name__])[0][:200]
    raise UserError(
        f"the Hub must give {entry.repository}, {configuration}, {split}, it did not ({said}); try "
        "again, or give the data as files with a task file"
    ) from failure


def _refuse_offline(entry: Entry) -> None:
    """UserError at once if the Hub may not be asked, and soon if it cannot be reached."""
    instead = (
        "fetch it on a machine with network and copy its folder of tasks/ in the data folder, or "
        "give local files with a task file"
    )
    if any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    ):
        raise UserError(
            f"{entry.title} must be fetched from the Hub first, and HF_HUB_OFFLINE forbids it; "
            f"{instead}"
        )
    there: list[bool] = []
    # looking up a host name heeds no timeout
    thread = threading.Thread(
        target=lambda: there.append(_reachable(entry.repository)), daemon=True
    )
    thread.start()
    thread.join(SECONDS)
    if not any(there):
        raise UserError(
            f"{entry.title} must be fetched from the Hub first, which did not answer; {instead}"
        )


def _reachable(repository: str) -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(repository, timeout=SECONDS)
    except Exception:  # of many kinds: no network, no such dataset, refused
        return False
    return True
