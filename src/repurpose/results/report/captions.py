"""What each figure shows, which of its numbers stand beside it, and what to beware of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

ALL = pl.lit(True)


@dataclass(frozen=True)
class Caption:
    """The words around a figure and the excerpt of its table."""

    title: str
    shows: str
    caveat: str
    columns: Sequence[str]
    keep: pl.Expr = ALL
    """Which rows of the table are quoted."""


STEERED = ("target", "direction", "reader", "multiple", "dose", "share", "low", "high", "distinct_2", "longest_run")
SELECTED = pl.col("selected") | (pl.col("direction") == "none")
NOT_EACH_RANDOM = ~pl.col("direction").str.starts_with("random-")

CAPTIONS: dict[str, Caption] = {
    "rollout": Caption(
        "What is read",
        "Some held-out rollouts. The vector is the mean activation over the green windows, before sentences that "
        "backtrack (red), minus the mean over such windows before all sentences.",
        "Only the first backtracking sentence and what is near it is shown; the examples are the first of their "
        "category, not chosen by hand.",
        ("example", "position", "token", "label", "mark"),
        pl.col("mark").is_in(["start"]),
    ),
    "windows": Caption(
        "Where to read: windows",
        "Keyword share of the steered reasoning model by the start of the window that the vector was read from.",
        "Training prompts, few of them: this is where layer, window and magnitude are chosen, so its highest value "
        "flatters. Windows that reach into the sentence read the behaviour itself and cannot be chosen.",
        ("reader", "window_start", "multiple", "share", "low", "high", "coherent", "selected", "prompts"),
        pl.col("multiple") == pl.col("multiple").filter(pl.col("selected")).first(),
    ),
    "layers": Caption(
        "Where to read: layers",
        "The same by layer: the vector is read from a layer's residual stream and added at the same layer.",
        "Training prompts. Doses are relative to each layer's residual norm, so equal doses are different norms.",
        ("reader", "layer", "multiple", "magnitude", "share", "low", "high", "coherent", "selected"),
        pl.col("multiple") == pl.col("multiple").filter(pl.col("selected")).first(),
    ),
    "2x2": Caption(
        "Two vectors, two models",
        "Keyword share when the base-derived or the reasoning-derived vector is added to either model, at "
        "magnitudes from negative to too large.",
        "The base model's share says little alone: it was never taught to think aloud. See the log-odds below.",
        STEERED,
        SELECTED,
    ),
    "baselines": Caption(
        "Against every control",
        "The same vector beside fixed random directions, label shuffles, other starts at the same offset, the "
        "overall mean, every other label, per-token noise and self-amplification, all with the same L2 norm.",
        "The best random direction is picked after the fact, which favours the controls. Controls whose text falls "
        "apart (×) say few words; the claims compare with each control at every magnitude at which it is coherent.",
        ("direction", "family", "share", "low", "high", "difference", "difference_low", "difference_high", "coherent"),
        SELECTED & (NOT_EACH_RANDOM | pl.col("best_random")),
    ),
    "coherence": Caption(
        "What steering costs",
        "Coherence, length and correctness of the steered text by magnitude.",
        "A text that does not end within the sweep's max_new_tokens gives no answer and counts as wrong.",
        ("reader", "multiple", "metric", "estimate", "low", "high"),
        SELECTED & (pl.col("target") == "reasoning"),
    ),
    "ablation": Caption(
        "Is the direction needed?",
        "The reasoning model's natural backtracking when a direction is projected out at every position.",
        "A direction can be sufficient without being necessary: what is removed at one site may be written again "
        "by later layers. Of wrong steps, because ablation also changes how many sentences stand between steps.",
        ("direction", "reader", "after_wrong", "after_wrong_low", "after_wrong_high", "backtracking_share", "share"),
        NOT_EACH_RANDOM,
    ),
    "base_zero": Caption(
        "The base model's zero, deconfounded",
        "Both models are steered on the same text, prefixes of the reasoning model's rollouts. Shown is the change "
        "of the log-odds of a keyword at sentence starts, and in the base model that of the mark for a mistake.",
        "Log-odds can rise a great deal and still stay far below what is ever sampled: read the level too.",
        ("target", "context", "direction", "log_odds", "change", "low", "high", "more_than_base"),
        pl.col("selected") & NOT_EACH_RANDOM,
    ),
    "lens": Caption(
        "Does the direction decode to the keywords?",
        "Mean logit of the vocabulary entries that hold each word, for the unit direction, by layer and unembedding.",
        "The lens reads the direction as if it were the last layer's; at early layers it says little.",
        ("reader", "unembedding", "word", "score", "rank", "other_rank_low", "other_rank_high"),
        pl.col("selected") & ~pl.col("word").str.starts_with("top:"),
    ),
    "cosines": Caption(
        "Are the two vectors the same?",
        "Cosine between the vectors of the two readers for every label and control, each reader on another half of the "
        "prompts (hollow), and over the readers' own split-half cosines, which takes the noise out (filled, with its "
        "interval over prompts). Controls whose halves agree on no direction have no filled dot.",
        "The grey tick is the plain cosine: both readers on the same text. Their noise is shared, so it is high even "
        "for label shuffles, which mean nothing, and no evidence.",
        (
            "name",
            "disattenuated",
            "disattenuated_low",
            "disattenuated_high",
            "cross_half",
            "reliability_base",
            "reliability_reasoning",
            "random_high",
            "cosine",
        ),
    ),
    "projections": Caption(
        "The projection on tokens",
        "One rollout shaded by the projection of each token's centred activation on the direction, and the mean "
        "projection around the starts of backtracking and other sentences.",
        "The profile is an average over sentences; single sentences vary far more than the band.",
        ("reader", "group", "value", "low", "high", "prompts", "count"),
        pl.col("part") == "summary",
    ),
    "detection": Caption(
        "Does the direction find mistakes?",
        "How well a token's projection tells whether the last step is wrong, by tokens since that step.",
        "Known only where the truth is: the embedded pair's language. Hedging is likelier after mistakes, so the "
        "right panel leaves hedging sentences out.",
        ("reader", "tokens", "since_low", "since_high", "auroc", "low", "high", "mistake_tokens", "correct_tokens"),
    ),
    "confusion": Caption(
        "Do the annotators agree?",
        "How often each pair of annotators gives one sentence the same label: Cohen's kappa with its interval over "
        "prompts, and what one calls each sentence that the other labels so. `agreement.csv` has kappa by label.",
        "Agreement is not truth: two annotators can share a fault. A sentence without a valid label counts as “none”.",
        ("one", "other", "label", "other_label", "sentences", "share"),
    ),
    "keyword_rule": Caption(
        "Is the metric about backtracking?",
        "Precision, recall and F1 of the rule “the sentence has a keyword” against each annotator's label, on "
        "natural and on steered text (Table C.1 of the paper).",
        "The annotator is one more rule where no person has labelled the sentences.",
        ("annotator", "direction", "reader", "multiple", "precision", "recall", "f1", "f1_low", "f1_high", "sentences"),
    ),
}
ORDER = (
    "2x2",
    "baselines",
    "base_zero",
    "coherence",
    "ablation",
    "windows",
    "layers",
    "rollout",
    "cosines",
    "lens",
    "projections",
    "detection",
    "confusion",
    "keyword_rule",
)
"""The order on the page: the effect first, then how it was found and what the direction is."""
