"""Published labels reach the right sentences or none; what can go wrong in a copy is in the two fixture files."""

from __future__ import annotations

import itertools
import json
import random
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repurpose.labels.annotation import Outcome
from repurpose.labels.published.alignment import fold, place_pieces
from repurpose.labels.published.annotator import Report, label_rollout, label_sentences, match_rollouts, place_sections
from repurpose.labels.published.chains import Chain, Section, read_chains, read_sections
from repurpose.rollouts.sentences import Span, split_sentences
from repurpose.study.published import PublishedError, tell_left_out

FILES = Path(__file__).parent
TASKS = [record["task_id"] for record in json.loads((FILES / "ward.json").read_text())]
WARD = dict(zip(TASKS, read_chains(FILES / "ward.json").chains, strict=True))
VENHOFF = read_chains(FILES / "venhoff.json").chains


def align_sections(text: str, sections: list[Section]) -> list[Span | None]:
    return place_pieces(text, [section.text for section in sections])


def label(chain: Chain) -> list[tuple[str, str | None, str]]:
    """Sentence, label and status of a chain."""
    sections = read_sections(chain.annotated, chain.text)
    spans = split_sentences(chain.text)
    outcomes = label_sentences(chain.text, spans, sections, align_sections(chain.text, sections))
    return [(chain.text[slice(*s)].strip(), o.label, o.status) for s, o in zip(spans, outcomes, strict=True)]


def labels(chain: Chain) -> list[str | None]:
    return [found for _, found, _ in label(chain)]


def statuses(chain: Chain) -> list[str]:
    return [status for _, _, status in label(chain)]


def place(text: str, *pieces: str) -> list[str | int | None]:
    """Where pieces land: their start, or None."""
    aligned = align_sections(text, [Section("deduction", piece) for piece in pieces])
    return [span and span.start for span in aligned]


def test_lost_blank_lines_and_spaces() -> None:
    assert labels(WARD["blank-lines"]) == ["initializing", "deduction", "deduction"]


def test_a_repeated_sentence_keeps_its_own_label() -> None:
    """Fault 3 of the published code: a search finds the first occurrence twice. The last section is reworded."""
    expected = ["deduction", "backtracking", "deduction", "uncertainty-estimation", None]
    assert labels(WARD["repeated"]) == expected
    text = "Wait, no. Then a new thing. Wait, no."
    assert place(text, "Wait, no.", "Then a new thing.", "Wait, no.") == [0, 10, 28]
    assert place(text, "Wait, no.", "Then a made up thing which is nowhere.", "Wait, no.") == [0, None, 28]


def test_a_tail_without_labels_stays_without() -> None:
    assert labels(WARD["tail"]) == ["initializing", "deduction", None, None]
    assert statuses(WARD["tail"])[2:] == ["unmatched", "unmatched"]


def test_spurious_labels() -> None:
    assert label(WARD["spurious"])[1:] == [
        ("Plums are stone fruit.", None, "unknown-label"),
        ("The bowl holds 9 of them.", "adding-knowledge", "ok"),
    ]


def test_a_missing_end_tag_ends_at_the_next() -> None:
    assert labels(WARD["no-end"]) == ["initializing", "deduction", "backtracking"]
    assert [section.fault for section in read_sections(WARD["no-end"].annotated)] == ["no-end", None, None]


def test_several_labels_on_one_section_are_none() -> None:
    assert label(WARD["several"])[1] == ("Wait, so it must be 8.", None, "mixed")
    assert [s.fault for s in read_sections('["deduction"]["deduction"] So. ["end-section"]')] == [None]


def test_straightened_quotes_match_exactly() -> None:
    chain = VENHOFF[0]
    assert labels(chain) == ["initializing", "initializing", "deduction"]
    report = Report()
    label_rollout(chain.text, [], chain, report)
    assert (report.exact, report.near) == (2, 0)


def test_a_reworded_sentence_is_near() -> None:
    assert labels(VENHOFF[1]) == ["initializing", "uncertainty-estimation", "deduction"]


def test_a_made_up_section_moves_nothing() -> None:
    assert labels(VENHOFF[2]) == ["initializing", "deduction", None, "deduction"]


def test_a_copy_that_was_cut_off() -> None:
    assert label(VENHOFF[3])[2:] == [("Two are eaten by Mia.", None, "mixed"), ("So 7 are left.", None, "unmatched")]
    assert read_sections(VENHOFF[3].annotated)[-1].fault == "cut-off"
    assert read_sections('["deduction"] So. ["end-sec') == [Section("deduction", "So.", "cut-off")]


def test_no_annotation_labels_nothing() -> None:
    assert VENHOFF[4].annotated is None and read_sections(None) == []
    assert statuses(VENHOFF[4]) == ["unmatched"] * 2


def test_the_thinking_is_cut_from_the_response_where_it_is_not_given() -> None:
    assert VENHOFF[0].text.strip().startswith("Let’s see") and "answer" not in VENHOFF[0].text


def test_equal_choices_are_none() -> None:
    text = "First thing here. Wait, no. Second thing here. Wait, no. Third thing here."
    assert place(text, "First thing here.", "Wait, no.", "Third thing here.") == [0, None, 57]
    near = "One. I check the sum of all plums. Two. I check the sum of all plums. Three."
    assert place(near, "Two.", "I test the sum of all plums.") == [35, 40]
    neither = f"Start. {near[:-6]}Four. Three."
    assert place(neither, "Start.", "I test the sum of all plums.", "Three.")[1] is None


def test_of_two_places_the_one_where_the_copy_goes_on_is_taken() -> None:
    text = "Start. Wait, no. One thing. Wait, no. Two things. Three things."
    assert place(text, "Start.", "Wait, no.", "Three things.") == [0, 7, 50]


def test_a_loop_is_placed_only_by_a_faithful_copy() -> None:
    text = "I go round in circles. " * 400
    pieces = ["I go round in circles."] * 400
    assert place(text, *pieces) == list(range(0, len(text), 23))
    assert set(place(text, *pieces[:350])) == {None}
    assert set(place("I go round in circles. " * 40, *pieces[:35])) == {None}


def test_two_sections_in_the_wrong_order_are_not_both_placed() -> None:
    text = "Alpha beta gamma. Delta zeta theta is all."
    assert sum(found is not None for found in place(text, "Delta zeta theta is all.", "Alpha beta gamma.")) <= 1
    assert place("aaaa bbbb", "bbbb", "aaaa") == [None, None]


def test_numbers_are_never_near() -> None:
    assert place("Now 3 plus 4 makes the number 7 here. End.", "Now 3 plus 5 makes the number 8 here.") == [None]


def test_a_short_piece_is_no_part_of_a_word() -> None:
    assert place("The reason is clear. so it goes.", "so") == [21]


def test_a_list_of_the_chain_is_no_tag() -> None:
    text = 'The code says x = ["plum"] and stops. Fine.'
    annotated = f'["deduction"]{text}["end-section"]'
    assert [section.label for section in read_sections(annotated, text)] == ["deduction"]


def test_covering_half_is_not_enough() -> None:
    text, sections = "ab cd", [Section("deduction", "ab"), Section("backtracking", "cd")]
    aligned = align_sections(text, sections)
    assert label_sentences(text, [Span(0, 5)], sections, aligned) == [Outcome(None, "mixed")]
    assert label_sentences(text, [Span(0, 3), Span(3, 5)], sections, aligned) == [
        Outcome("deduction", "ok"),
        Outcome("backtracking", "ok"),
    ]


VOCABULARY = ["so", "we", "count", "plums", "then", "wait", "no", "the", "sum", "is", "7", "or", "12", "not"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6)


@st.composite
def copies(draw: st.DrawFn) -> tuple[str, list[Span], list[Section]]:
    """A text of possibly repeating sentences, the true spans of its sections, and sections with other spaces."""
    text, spans, sections = "", [], []
    for words in draw(st.lists(WORDS, min_size=1, max_size=6)):
        body = draw(st.sampled_from([" ", "\n\n", "  "])).join(words) + "."
        spans.append(Span(len(text), len(text) + len(body)))
        sections.append(Section(draw(st.sampled_from(["deduction", "backtracking"])), " ".join(body.split())))
        text += body + draw(st.sampled_from([" ", "\n", "\n\n\n"]))
    return text, spans, sections


@settings(max_examples=40)
@given(copies())
def test_respaced_copies_are_recovered(copy: tuple[str, list[Span], list[Section]]) -> None:
    text, spans, sections = copy
    assert align_sections(text, sections) == spans


@settings(max_examples=40)
@given(copies(), st.data())
def test_a_copy_with_losses_and_inventions_is_right_or_silent(
    copy: tuple[str, list[Span], list[Section]], data: st.DataObject
) -> None:
    """Whatever is lost, invented or out of order: spans are disjoint and in order, and hold what the copy says."""
    text, _, sections = copy
    invented = Section("initializing", "Suppose forty trains leave at noon.")
    kept = [s for s in sections if data.draw(st.booleans())] + [invented]
    aligned = align_sections(text, data.draw(st.permutations(kept)) if data.draw(st.booleans()) else kept)
    found = [span for span in aligned if span]
    assert all(a.end <= b.start for a, b in pairwise(found))


def most_held(sentence: str, held: str) -> int:
    """Characters of a sentence that sections can cover: one piece of it, or its beginning and its end."""
    size = len(sentence)
    pieces = (end - start for start in range(size) for end in range(start, size + 1) if sentence[start:end] in held)
    first = max(end for end in range(size + 1) if sentence[:end] in held)
    last = max(size - start for start in range(size + 1) if sentence[start:] in held)
    return max(*pieces, min(size, first + last))


@settings(max_examples=40)
@given(copies(), st.data())
def test_only_what_the_copy_holds_is_labelled(copy: tuple[str, list[Span], list[Section]], data: st.DataObject) -> None:
    text, spans, sections = copy
    kept = [s for s in sections if data.draw(st.booleans())]
    outcomes = label_sentences(text, spans, kept, align_sections(text, kept))
    held = "".join(fold(section.text).text for section in kept)
    for span, outcome in zip(spans, outcomes, strict=True):
        sentence = fold(text[slice(*span)]).text
        if outcome.label and len(sentence) < 12:  # too short for near matches
            assert 2 * most_held(sentence, held) > len(sentence)
        if outcome.label:
            assert outcome.label in {section.label for section in kept}


@settings(max_examples=40)
@given(copies(), st.integers(0, 7))
def test_a_unique_marker_survives_any_loss(copy: tuple[str, list[Span], list[Section]], at: int) -> None:
    text, spans, sections = copy
    at = min(at, len(spans))
    start = spans[at].start if at < len(spans) else len(text)
    marked = text[:start] + "Zebras dance under violet moons. " + text[start:]
    lost = [*sections[: max(0, at - 1)], Section("backtracking", "Zebras dance under\nviolet moons."), *sections[at:]]
    assert align_sections(marked, lost)[max(0, at - 1)] == Span(start, start + 32)


def test_rollouts_find_their_chains() -> None:
    chains = [
        Chain("Okay.  So 7.", "a"),
        Chain("Okay. So 7. Then 8 comes.", "b"),
        Chain("No.", None),
    ]
    texts = ["<think>\nOkay. So 7.\n\nThen 8  comes. </think> It is 8.", "Okay. So 7.", "Okay. So 71.", "Nobody", ""]
    matched = match_rollouts(chains, texts)
    assert [chain and chain.annotated for chain in matched] == ["b", "a", None, None, None]
    assert matched[0] and matched[0].text == "<think>\nOkay. So 7.\n\nThen 8  comes."
    sections = [Section("deduction", "Then 8 comes.")]
    span = align_sections(matched[0].text, sections)[0]
    assert span and texts[0][slice(*span)] == "Then 8  comes."


def test_two_annotations_of_one_text_are_none() -> None:
    chains = [Chain("Okay.", "a"), Chain("Okay.", "b")]
    assert match_rollouts(chains, ["Okay."]) == [None]
    assert match_rollouts([chains[0], Chain("Okay.", None)], ["Okay."]) == [chains[0]]


def test_report_adds_up() -> None:
    report = Report()
    for chain in (*WARD.values(), *VENHOFF):
        label_rollout(chain.text, split_sentences(chain.text), chain, report)
    assert (report.chains, report.unannotated) == (11, 1)
    assert report.exact + report.near + len(report.unmatched) == report.sections
    assert report.near == 1 and len(report.unmatched) == 2 and report.unknown_labels == {"botany": 1}
    assert json.loads(json.dumps(vars(report)))["statuses"]["ok"] == report.statuses["ok"] > 15
    assert any("train leaves the station" in line for line in report.lines())


GOOD = {
    "task_id": "t1",
    "problem": "?",
    "reasoning_chain": "So 7.",
    "annotated_chain": '["deduction"] So 7. ["end-section"]',
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{**GOOD, "annotated_chain": 3}], r"record 1 \(task_id 't1'\): field annotated_chain is a JSON number"),
        ([{k: v for k, v in GOOD.items() if k != "reasoning_chain"}], "record 1.*field reasoning_chain is missing"),
        ([{k: v for k, v in GOOD.items() if k != "annotated_chain"}], "record 1.*field annotated_chain is missing"),
        ([{**GOOD, "annotated_chain": "So 7."}], "record 1.*no section"),
        ([{**GOOD, "annotated_chain": None}], "no record is annotated"),
        ([{**GOOD, "reasoning_chain": " "}], "record 1.*the chain is empty"),
        (["So 7.", "So 8."], "none of 2 records can be read; record 1: is a JSON text, not an object"),
        ([{"text": "So 7."}], "record 1: has neither .*; its fields are text"),
        ([{"annotated_thinking": "x", "full_response": "So 7."}], "record 1: .*full_response has no <think>"),
        ([{"annotated_thinking": "x"}], "record 1: field thinking_process is missing"),
        ([], "list of records is empty"),
        (GOOD, "is a JSON object; a list"),
        (None, "is a JSON null; a list"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: Any, said: str) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(PublishedError, match=rf"^labels.json: .*{said}|^labels.json: {said}") as caught:
        read_chains(tmp_path / "labels.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}\n{}\n", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(PublishedError, match=r"^labels.json: is not JSON") as caught:
        read_chains(tmp_path / "labels.json")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    bad = [{**GOOD, "task_id": "t2", "annotated_chain": "So 7."}, "So 7."]
    (tmp_path / "labels.json").write_text(json.dumps([bad[0], GOOD, bad[1], {**GOOD, "annotated_chain": None}]))
    chains, left_out = read_chains(tmp_path / "labels.json")
    assert [chain.annotated for chain in chains] == [GOOD["annotated_chain"], None]
    expected = "record 1 (task_id 't2'): the annotated copy has no section", "record 3: is a JSON text, not an object"
    assert [said.startswith(start) for said, start in zip(left_out, expected, strict=True)] == [True, True]
    told = tell_left_out("/some/where/labels.json", left_out * 6)
    assert told[0] == "labels.json: records that cannot be read and are left out: 12"
    assert told[1:3] == left_out and len(told) == 12 and told[-1] == "and 2 more"
    assert tell_left_out("labels.json", []) == []


def sections(copy: str, text: str = "") -> list[tuple[str | None, str]]:
    return [(section.label, section.text) for section in read_sections(copy, text)]


TWO = [("deduction", "So 7."), ("adding-knowledge", "Plums are fruit.")]


@pytest.mark.parametrize(
    "tags",
    [
        ('["deduction"]', '["adding-knowledge"]', '["end-section"]'),
        ("[deduction]", "[adding-knowledge]", "[end-section]"),
        ("[1. deduction]", "[2. adding-knowledge]", "[end-section]"),
        ('["1. deduction"]', '["2) Adding_Knowledge"]', '["end-section"]'),
        ("[1.deduction]", "[12: Adding knowledge]", '[ "end-section" ]'),
        ("[deduction]", '["adding-knowledge"]', "[end section]"),
        ('["deduction]', '[adding-knowledge"]', "[“end-section”]"),
    ],
)
def test_tags_without_quotes_and_with_numbers_are_tags(tags: tuple[str, str, str]) -> None:
    one, other, end = tags
    assert sections(f"{one} So 7. {end}\n{other} Plums are fruit. {end}") == TWO


def test_only_known_labels_are_tags_without_quotes() -> None:
    said = "Take x in [0, 1] and [1. case] or a[i], see [note]; [12] too."
    assert sections(f"[deduction] {said} [end-section]") == [("deduction", said)]
    assert sections('["56.86:botany"] So. ["end-section"]') == [("56.86:botany", "So.")]
    own = "The list has [deduction] in it."
    assert sections(f"[initializing]{own}[end-section]", own) == [("initializing", own)]
    assert sections('["deduction"] So. ["end-section"]', 'x = ["deduction"]') == [("deduction", "So.")]


@pytest.mark.parametrize("end", ["[", "[de", "[2. adding", '["1. ded', "[end-sec", '["whatever'])
def test_a_tag_that_was_cut_off_is_no_text(end: str) -> None:
    assert read_sections(f"[1. deduction] So 7. {end}") == [Section("deduction", "So 7.", "cut-off")]


def test_a_bracket_at_the_end_of_a_cut_copy_is_text() -> None:
    assert read_sections("[deduction] So 7 [see a")[0].text == "So 7 [see a"


LOOP = "Start here. Wait, no. One thing. Wait, no. Two things. Wait, no. Three things."
LOOP_COPY = "".join(
    f'["{label}"]{text}["end-section"]'
    for label, text in (
        ("initializing", "Start here."),
        *(("backtracking", "Wait, no."), ("deduction", "One thing.")),
        *(("uncertainty-estimation", "Wait, no."), ("deduction", "Two things.")),
        *(("backtracking", "Wait, no."), ("example-testing", "Three things.")),
    )
)


def test_a_rollout_that_is_cut_short_has_the_labels_in_front_of_the_cut() -> None:
    """Aligned to the whole chain: what is said again and again would fit in several places of its beginning."""
    chain = Chain(LOOP, LOOP_COPY)
    for end in range(20, len(LOOP)):
        text = f"<think>\n\n{LOOP[:end].replace('. ', '.  ', 1)}"
        (matched,) = match_rollouts([chain, Chain("No such text.", "x")], [text])
        assert matched == chain, text
        spans, report = split_sentences(text), Report()
        found = [o.label for o in label_rollout(text, spans, matched, report) if o.status == "ok"]
        sentences = [text[slice(*span)].strip() for span in spans]
        expected = [section.label for section in read_sections(LOOP_COPY)][: len(found)]
        assert found == expected and len(sentences) - len(found) in (0, 1)  # the tag
        assert report.sections + report.behind == 7 and report.exact == report.sections and not report.unmatched


def test_of_a_cut_rollout_the_last_span_ends_at_the_cut() -> None:
    chain, text = Chain(LOOP, LOOP_COPY), LOOP[:27] + "\ufffd"
    places = [one.place for one in place_sections(text, chain, Report())]
    assert places == [(0, 11), (12, 21), (22, 27)]


def test_a_beginning_that_several_chains_share_is_none() -> None:
    chains = [Chain("Okay. So 7.", "a"), Chain("Okay. So 8.", "b"), Chain("Okay. So 9. No.", None)]
    matched = match_rollouts(chains, ["Okay. So", "Okay. So 8", "\ufffd", "Okay. So 9. N"])
    assert matched == [None, chains[1], None, chains[2]]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=r"^labels.json: no such file"):
        read_chains(tmp_path / "labels.json")


def test_long_chains_take_work_in_proportion() -> None:
    """Four times the text, every tenth section reworded or lost: far from sixteen times the calls."""
    calls = []
    for count in (500, 2000):
        rng = random.Random(0)
        vocabulary = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrt"]
        sentences = [" ".join(rng.choices(vocabulary, k=9)) + "." for _ in range(count)]
        copied = [s.replace("a", "e", 1) if n % 20 == 5 else s for n, s in enumerate(sentences) if n % 20 != 9]
        counted = itertools.count()
        sys.setprofile(lambda *_, counted=counted: next(counted))
        try:
            aligned = align_sections(" ".join(sentences), [Section("deduction", s) for s in copied])
        finally:
            sys.setprofile(None)
        calls.append(next(counted))
        assert None not in aligned
    assert calls[1] < 8 * calls[0]
