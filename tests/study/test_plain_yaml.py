"""YAML of study files: what would be lost, changed or without end is one line with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from repurpose.study.plain_yaml import DEEPEST, LARGEST, StudyFileError, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
"""A few hundred characters that say a thousand million values."""
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{after}: &{after}\n  <<: [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)


def told(file: Path) -> str:
    with pytest.raises(StudyFileError) as problem:
        read_yaml(file)
    assert str(problem.value).startswith(f"{file}: cannot be read: ")
    assert str(problem.value).isprintable() and len(str(problem.value)) < 1200
    return str(problem.value).removeprefix(f"{file}: cannot be read: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nstudy: a\nseed: 2\n", "line 3: seed: the key is given twice, in line 1 first; give it once"),
        ("sweeps:\n  a: 1\n  'a': 2\n", "line 3: sweeps.a: the key is given twice, in line 2 first"),
        ("a: [{b: 1, c: 1, b: 2}]", "line 1: a.0.b: the key is given twice"),
        ("1: a\n'1': b", "line 2: 1: the key is given twice, in line 1 first"),
        ("seed: 1:30\n", "line 1: seed: 1:30 may be read in several ways; write a number in decimal digits"),
        ("a:\n  seed: 010\n", "line 2: a.seed: 010 may be read in several ways"),
        ("seed: 1_000", "line 1: seed: 1_000 may be read in several ways"),
        ("seed: 0x1F", "line 1: seed: 0x1F may be read in several ways"),
        ("seed: 0b11", "line 1: seed: 0b11 may be read in several ways"),
        ("seed: 1:30.5", "line 1: seed: 1:30.5 may be read in several ways"),
        ("seed: !!int '1:30'", "line 1: seed: 1:30 may be read in several ways"),
        (f"seed: {'1' * 5000}", "line 1: seed: 1111"),
        ("batch: on", "line 1: batch: on may be read in several ways; "),
        ("keywords: [wait, no]", "line 1: keywords.1: no may be read in several ways; "),
        ("study: 2026-11-28", "line 1: study: 2026-11-28 may be read in several ways; "),
        ("a: !!binary aGVsbG8=", "line 1: a: aGVsbG8= may be read in several ways"),
        ("a: !!set {x, y}", "line 1: a: tag:yaml.org,2002:set is not allowed; give a mapping or a list"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: a: tag:yaml.org,2002:python/object/apply:os.getcwd is not"),
        ("no: 1", "line 1: no: the key is no text; put it in quotes"),
        (
            "__use_yte__: true\nstudy: ?open('made', 'w')",
            "line 1: __use_yte__: the file would be a template, which run",
        ),
        ("a:\n  '__use_yte__': false", "line 2: a.__use_yte__: the file would be a template"),
        ("? [a, b]\n: 1", "line 1: "),
        ("a: =", "line 1: a: = may be read in several ways"),
        ("a: [1, 2\nb: 3", "line 2: while parsing a flow sequence, expected ',' or ']'"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("a:\n\t- b", "line 2: while scanning for the next token, found character '\\t'"),
        ("a: *b", "line 1: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "line 2: expected a single document in the stream, but found another document"),
        ("a: \0", "it is no YAML: unacceptable character #x0000"),
        ('a: "\\ud800"', "line 1: a: it holds half of a surrogate pair, which is no sign; leave it out"),
        (BOMB, "line 1: there are more than 10,000 values, with what aliases repeat"),
        (MERGED, "line 1: there are more than 10,000 values"),
        ("a: &a [*a]", f"line 1: {'.'.join(['a', *['0'] * DEEPEST])}: its values lie more than {DEEPEST} levels deep"),
        ("[" * 3000, f"its values lie more than {DEEPEST} levels deep"),
        ("{a: " * 30 + "}" * 30, f"line 1: {'.'.join('a' * (DEEPEST + 1))}: its values lie more than {DEEPEST} level"),
        (f"a: {'x' * LARGEST}", f"it is larger than {LARGEST:,} bytes; a study is told in a few thousand"),
        (f"{'x' * 100_000}: 1\n" * 2, "line 1: mapping values are not allowed here"),
    ],
    ids=range(37),
)
def test_what_is_no_plain_study_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert told(tmp_path / "study.yaml").startswith(said)


def test_a_text_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study: a", encoding="utf-16")
    assert told(tmp_path / "study.yaml") == "it is no text in UTF-8 (byte 1 is none); save it as UTF-8"


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    assert told(tmp_path / "none.yaml") == "No such file or directory"
    assert told(tmp_path) == "Is a directory"


def test_what_means_one_thing_is_read(tmp_path: Path) -> None:
    lines = ["a: &a {x: 1, y: -2.5}", "b: {<<: *a, y: true}", "c: [1e-3, 1.0e-3, .5, ~, null, '010', \"no\", 0, -7]"]
    (tmp_path / "study.yaml").write_text("\n".join(lines))
    assert read_yaml(tmp_path / "study.yaml") == {
        "a": {"x": 1, "y": -2.5},
        "b": {"x": 1, "y": True},
        "c": ["1e-3", 1e-3, 0.5, None, None, "010", "no", 0, -7],
    }
    (tmp_path / "study.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "study.yaml") is None
