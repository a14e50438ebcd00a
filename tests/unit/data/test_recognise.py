"""What a file is, whatever it is called: its format, its columns, its metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.data.formats import read
from sdq.data.recognise import recognise
from sdq.intake.preview import metrics, preview
from sdq.settings import UserError
from tests.helpers.brought_files import made

# --- what is shown before anything is taken


def test_a_preview_says_what_the_file_is_and_what_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "a.data").write_text(
        "In IN O 1 anna\nNew NNP B-city 2 bob\n\nYork NNP I-city 3 anna\n"
    )
    about = preview(tmp_path / "a.data").attrs
    assert about["format"].startswith("CoNLL")
    assert (about["kind"], about["columns"], about["looks"]) == (
        "token",
        {"tokens": "tokens", "tags": "3"},
        "tags of spans",
    )
    (tmp_path / "b.csv").write_text("text;label\nx;y\n")
    about = preview(tmp_path / "b.csv").attrs
    assert (about["format"], about["columns"]) == ("CSV", {"text": "text", "label": "label"})
    assert "';'" in about["remarks"][0]


def test_a_metric_is_proposed_by_the_tags() -> None:
    assert metrics("token", ["O", "B-x"])[0] == "f1"
    assert metrics("token", ["NOUN", "VERB"])[0] == "token_accuracy"
    for spans in (
        ["B_PER", "I_PER", "O"],
        ["PER-B", "PER-I", "O"],
        ["PER", "LOC", "O"],
        ["O", "O"],
    ):
        assert metrics("token", spans)[0] == "f1"
    assert metrics("token", ["NOUN", "_", "O"])[0] == "token_accuracy"
    assert metrics("sentence") == ("accuracy",)
    assert metrics("ranking")[0] == "ndcg"


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        "a.tsv",
        "a.jsonl",
        "a.conll",
        "a.parquet",
        "a.json",
        "a.conllu",
        "a",
        "a.conllu.txt",
        "a.iob2",
        "a.data",
    ],
)
def test_what_a_file_is_called_does_not_matter(name: str, tmp_path: Path) -> None:
    contents = {
        "csv": "text,label\nx,y\n",
        "tsv": "text\tlabel\nx\ty\n",
        "json": '[{"text": "x"}]',
        "conllu": "1\tIn\tin\tADP\t_\t_\t2\tcase\t_\t_\n",
        "conll": "In O\nRome B-x\n\nHe O\n",
    }
    if Path(name).suffix in (".conll", ".iob2"):
        del contents["tsv"]  # two fields between tabs: here the ending decides
    for kind, content in contents.items():
        (tmp_path / name).write_text(content)
        assert recognise(tmp_path / name).name == kind
    (tmp_path / name).write_text('{"text": "x", "label": "y"}\n')
    assert recognise(tmp_path / name).name == "jsonl"


@pytest.mark.parametrize(
    ("content", "words", "tags"),
    [
        (
            "# newdoc\nAnna\tB-PER\nran\tO\n",
            "Anna ran",
            "B-PER O",
        ),  # two fields by spaces, one by tabs
        ("#win=1 O\nyes O\n", "#win=1 yes", "O O"),
        ("#win\tO\nyes\tO\n", "#win yes", "O O"),
        ("# O\nyes O\n", "# yes", "O O"),
        ("#\tSYM\nyes\tINTJ\n", "# yes", "SYM INTJ"),
        ("# id 1a\tdomain=en\nAnna _ _ B-PER\nran _ _ O\n", "Anna ran", "B-PER O"),
        ("# text = a\tb\nAnna\tB-PER\nran\tO\n", "Anna ran", "B-PER O"),
        (
            "#id=1\n# a b c\n#begin document (x); part 000\nAnna B-PER\nran O\n",
            "Anna ran",
            "B-PER O",
        ),
    ],
)
def test_comments_and_words_with_a_hash_are_told_apart(
    content: str, words: str, tags: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    (row,) = read(path)
    assert [" ".join(row.cells["tokens"]), " ".join(row.cells["tags"])] == [words, tags]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# newdoc\nAnna B-PER\nran O\n", "line 1 of a.conll may be either"),
        ("#win\nAnna B-PER\n", "line 1"),
    ],
)
def test_a_comment_that_may_be_a_word_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(content)
    with pytest.raises(UserError, match=said):
        list(read(tmp_path / "a.conll"))


SPANS_FIRST, SPEECH_FIRST = (
    "O\ta\nB-actor\tbob\nI-actor\thope\n\nO\tno\nO\tway\n",
    "DET the\nNOUN dog\nVERB ran\n\nDET a\nNOUN cat\n",
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, SPANS_FIRST) for name in ("a.conll", "a.bio", "a.txt", "a.tsv")),
        ("a.conll", SPEECH_FIRST),
        ("a.bio", SPEECH_FIRST),
    ],
)
def test_tags_before_words_are_never_taken_the_wrong_way_round(
    name: str, content: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r'its columns are 1: .* \| 2: .*"tokens": "2", "tags": "1"'
    ):
        made(
            tmp_path,
            name,
            content,
            {"kind": "token", "columns": {"tokens": "tokens", "tags": "tags"}},
        )
    turned = preview(tmp_path / name).attrs["columns"]
    assert turned == {"tokens": "2", "tags": "1"}
    assert made(tmp_path, name, content, {"kind": "token", "columns": turned}).splits["train"][
        0
    ].words[0] in ("a", "the")


# --- tables and CoNLL

WORDS = ["In", "Rome", ".", "Он", "живёт", "в", "Берлине", "東京", "に"]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("text\tlabel\nvery fine\tgood\n\n" + "sad\tbad\nso sad\tbad\n" * 4, "tsv"),
        ("label\ttext\ngood\tvery fine\n\n" + "bad\tsad\n" * 8, "tsv"),
        (
            "text\tlabel\n"
            + "今天天气很好，我们去公园散步吧\t正面\n\n" * 5
            + "这部电影实在是太无聊了，浪费时间\t负面\n",
            "tsv",
        ),
        ("a text,label\nvery fine,good\n\n" + "so sad,bad\n" * 8, "csv"),
        ("a text;label\nvery fine;good\n\n" + "so sad;bad\n" * 8, "csv"),
        ("\n".join(f"{word}\tX{i % 3}" for i, word in enumerate(WORDS)) + "\n\nHe\tX1\n", "conll"),
        ("\n".join(f"{word} X{i % 3}" for i, word in enumerate(WORDS)) + "\n\nHe X1\n", "conll"),
        ("New York\tB-LOC\nis\tO\n\nHe\tO\n", "conll"),
        ("10 000\tNUM\neuros\tNOUN\n\n12 000\tNUM\nmen\tNOUN\n", "conll"),
        (
            "In\tCase=Nom|Gender=Masc\tX1\nRome\tCase=Nom|Gender=Masc\tX2\n\nHe\tCase=Nom|Gender=M"
            "asc\tX1\n",
            "conll",
        ),
    ],
)
def test_a_table_with_a_blank_line_is_no_conll(written: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(written, "utf-8")
    assert recognise(tmp_path / "a.txt").name == kind


@pytest.mark.parametrize("end", [",]", ", ]", ",\n]", ",,]"])
def test_an_array_has_no_comma_after_its_last_object(end: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "fine", "label": "good"}' + end)
    with pytest.raises(
        UserError,
        match="comma after its last, row 1"
        if end != ",,]"
        else "what stands in line 1 of a.json is no JSON",
    ):
        list(read(tmp_path / "a.json"))
