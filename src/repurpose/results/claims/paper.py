"""The paper's claims as data: what is asked of which cell of which table. A new claim is one entry here."""

from __future__ import annotations

from repurpose.results.claims import rules
from repurpose.results.claims.claim import OWN, Claim, Source
from repurpose.results.numbers import Unit
from repurpose.results.tables.names import bounded
from repurpose.study.settings import DIRECTIONS

PAPER: dict[str, str] = {
    "1": "A direction for backtracking, read from the base model before backtracking sentences, makes the reasoning "
    "model backtrack when it is added.",
    "2": "The same direction does not make the base model backtrack, nor does the one read from the reasoning model.",
    "3": "The base-derived and the reasoning-derived direction are nearly the same.",
    "4": "The effect is not a token-level one: by logit lens the base-derived direction does not decode to keywords.",
    "5": "The effect is far larger than that of controls.",
    "6": "The direction is one heuristic of several: its projection is dense and does not track single keywords.",
    "+": "What the paper leaves open.",
}
"""The paper's six claims in our words, and what is asked beyond them."""

STEERED = {"target": "reasoning", "direction": OWN, "reader": "base", "selected": True}
BASE_TARGET = {"target": "base", "direction": OWN, "selected": True}
ABLATED = {"target": "reasoning", "direction": OWN, "reader": "base"}
LOG_ODDS = LENS = {"direction": OWN, "reader": "base", "selected": True}
PROJECTED = {"part": "summary", "reader": "base"}
"""Cells of the tables, by the columns that tell them."""

DIFFERENCE: Unit = "difference of shares"
SHARE = ("share", "low", "high")
CHANGE = bounded("change")
CHANGE_OF_LOG_ODDS = ("change", "low", "high")
BACKTRACKING = ("backtracking_share", "backtracking_low", "backtracking_high")
VALUE = ("value", "low", "high")
RANK = ("rank", "rank", "rank")
"""Estimates by their columns."""

STEERED_SHARE = Source("baselines", STEERED, SHARE, "share", coherent=True)
"""The keyword share beside that of every control."""

RANDOM = ("random",)
PAPERS = ("mean", "noise", "self", "deduction", "initializing")
OTHERS = tuple(name for name in DIRECTIONS if name != "random")
"""Controls."""

FAR_LARGER = 3.0
ALIKE = 0.7
TOP_PERCENTILE = 0.95

MAGNITUDE = "at the selected magnitude, held-out prompts"
COHERENT = "; controls at every magnitude up to it at which their text is coherent"
BASE_SHARE = (
    "keyword share of the steered base model on held-out prompts, at the largest magnitude up to the selected one "
    "at which its text is coherent: interval below 1 %"
)
NO_DIRECTION = "halves of the prompts do not agree on a direction"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "1a",
        "The base-derived vector raises the keyword share in the reasoning model.",
        f"change from unsteered, paired by prompt, {MAGNITUDE}: interval above 0, text coherent",
        Source("2x2", STEERED, CHANGE, DIFFERENCE, coherent=True),
        rules.fixed,
    ),
    Claim(
        "1b",
        "It raises it more than every random direction of the same norm.",
        f"share {MAGNITUDE}: lower end above the highest upper end of the random directions{COHERENT}",
        STEERED_SHARE,
        rules.rivals,
        rivals=RANDOM,
    ),
    Claim(
        "1c",
        "It makes sentences backtrack by their label, not only by their words.",
        f"change of the share of sentences labelled as backtracking, {MAGNITUDE}: interval above 0",
        Source("2x2", STEERED, bounded("backtracking_change"), DIFFERENCE, coherent=True),
        rules.fixed,
    ),
    Claim(
        "2a",
        "The base-derived vector does not make the base model say the keywords.",
        BASE_SHARE,
        Source("2x2", {**BASE_TARGET, "reader": "base"}, SHARE, "share", coherent=True),
        rules.largest_coherent,
        above=False,
        threshold=0.01,
    ),
    Claim(
        "2b",
        "Nor does the reasoning-derived vector.",
        BASE_SHARE,
        Source("2x2", {**BASE_TARGET, "reader": "reasoning"}, SHARE, "share", coherent=True),
        rules.largest_coherent,
        above=False,
        threshold=0.01,
    ),
    Claim(
        "2c",
        "On the same text it raises the keywords' log-odds more in the reasoning model than in the base model.",
        "difference of the changes at sentence starts of the reasoning model's rollouts: interval above 0",
        Source(
            "base_zero", {**LOG_ODDS, "target": "reasoning", "context": "keyword"}, bounded("more_than_base"), "nats"
        ),
        rules.fixed,
        counts=False,
    ),
    Claim(
        "2d",
        "On that text it does not raise the keywords' log-odds in the base model beyond random directions.",
        "change in the base model: interval below the highest estimate of a random direction",
        Source("base_zero", {**LOG_ODDS, "target": "base", "context": "keyword"}, CHANGE_OF_LOG_ODDS, "nats"),
        rules.best_random,
        above=False,
        counts=False,
    ),
    Claim(
        "3a",
        "Base- and reasoning-derived vectors are nearly the same.",
        "cosine at the selected site, each reader on another half of the prompts, over the geometric mean of the "
        f"readers' split-half cosines: interval above {ALIKE} (the paper: about 0.74 on the same text)",
        Source("cosines", {"name": OWN}, bounded("disattenuated"), "cosine"),
        rules.fixed,
        threshold=ALIKE,
        undefined=NO_DIRECTION,
    ),
    Claim(
        "3b",
        "They are more alike than random directions are.",
        "cosine, each reader on another half of the prompts: interval above 97.5 % of random pairs in as many "
        "dimensions",
        Source("cosines", {"name": OWN}, bounded("cross_half"), "cosine"),
        rules.chance,
    ),
    Claim(
        "4a",
        "The base-derived direction does not decode to the keywords.",
        "mean percentile of a keyword's entries among all tokens, highest of all words and both unembeddings: below "
        f"{TOP_PERCENTILE}",
        Source("lens", LENS, RANK, "percentile"),
        rules.lens_rank,
        above=False,
        threshold=TOP_PERCENTILE,
        interval="the highest alone",
    ),
    Claim(
        "4b",
        "None of its ten best tokens is one.",
        "best tokens by the base and the reasoning model's unembedding that hold a word of the lens: none",
        Source("lens", LENS, RANK, "tokens"),
        rules.lens_top,
        above=False,
        threshold=1.0,
        interval="a count",
    ),
    Claim(
        "5a",
        "It exceeds the paper's controls: mean, noise, self-amplification, deduction, initializing.",
        f"share {MAGNITUDE}: lower end above the highest upper end of these five{COHERENT}",
        STEERED_SHARE,
        rules.rivals,
        rivals=PAPERS,
    ),
    Claim(
        "5b",
        "It exceeds every other control: label shuffles, same-offset starts, each other label.",
        f"share {MAGNITUDE}: lower end above the highest upper end of every control but random directions{COHERENT}",
        STEERED_SHARE,
        rules.rivals,
        rivals=OTHERS,
    ),
    Claim(
        "5c",
        "The effect is far larger than those of the paper's controls and of random directions.",
        f"change over the largest change of one of these {MAGNITUDE}: above {FAR_LARGER:g} times{COHERENT}",
        Source("baselines", STEERED, CHANGE, "times", coherent=True),
        rules.times_rivals,
        threshold=FAR_LARGER,
        rivals=(*RANDOM, *PAPERS),
        interval="conservative, from both intervals",
    ),
    Claim(
        "6a",
        "The projection is dense: many tokens carry it.",
        "tokens that carry the base reader's projection (participation ratio; a normal distribution has 33 %): more "
        "than stand in sentences of the behaviour",
        Source("projections", {**PROJECTED, "group": "participation"}, VALUE, "share"),
        rules.inside,
    ),
    Claim(
        "6b",
        "It does not track single keyword tokens.",
        "share of keywords among the highest projections, as many as there are keywords: below 0.5",
        Source("projections", {**PROJECTED, "group": "keyword_precision"}, VALUE, "share"),
        rules.fixed,
        above=False,
        threshold=0.5,
    ),
    Claim(
        "+a",
        "The uncertainty-estimation vector, the hard control, does less.",
        f"share {MAGNITUDE}: lower end above the upper end of uncertainty-estimation{COHERENT}",
        STEERED_SHARE,
        rules.rivals,
        rivals=("uncertainty-estimation",),
    ),
    Claim(
        "+b",
        "Noise alone raises the keyword share a little.",
        f"change from unsteered {MAGNITUDE}: interval above 0",
        Source("baselines", {"target": "reasoning", "direction": "noise", "selected": True}, CHANGE, DIFFERENCE),
        rules.fixed,
    ),
    Claim(
        "+c",
        "The negative vector suppresses backtracking.",
        "change of labelled sentences at minus the selected magnitude: interval below 0",
        Source("2x2", STEERED, bounded("backtracking_change"), DIFFERENCE, coherent=True),
        rules.mirrored,
        above=False,
        needs="negative magnitude",
    ),
    Claim(
        "+d",
        "The direction is needed for natural backtracking.",
        "change of the share that is backtracked from when the direction is removed everywhere: interval below 0",
        Source(
            "ablation",
            ABLATED,
            bounded("after_wrong_change"),
            DIFFERENCE,
            instead=bounded("backtracking_change"),
        ),
        rules.natural,
        above=False,
    ),
    Claim(
        "+e",
        "It is needed more than random directions are.",
        "the share with the direction removed: interval below the lowest lower end of random directions",
        Source("ablation", ABLATED, bounded("after_wrong"), "share", instead=BACKTRACKING),
        rules.natural_below_random,
        above=False,
        rivals=RANDOM,
    ),
    Claim(
        "+f",
        "The base model uses the direction to mark mistakes.",
        "change of the log-odds of the mark `mistake`: lower end above the best random direction's upper end",
        Source("base_zero", {**LOG_ODDS, "target": "base", "context": "mark"}, CHANGE_OF_LOG_ODDS, "nats"),
        rules.best_random,
        needs="truth",
    ),
    Claim(
        "+g",
        "In the base model the projection tells that a mistake is open.",
        "AUROC over tokens since the last step, hedging and backtracking sentences left out: above 0.5",
        Source(
            "detection",
            {"reader": "base", "tokens": "unhedged", "since_low": 0, "since_high": None},
            ("auroc", "low", "high"),
            "AUROC",
        ),
        rules.fixed,
        threshold=0.5,
        needs="truth",
    ),
    Claim(
        "+h",
        "The similarity of the two readers' vectors is special to the behaviour.",
        "cosine as in 3a: interval above the highest of the other labels, label shuffles and same-offset starts",
        Source("cosines", {"name": OWN}, bounded("disattenuated"), "cosine"),
        rules.most_alike,
        undefined=NO_DIRECTION,
    ),
    Claim(
        "+i",
        "It makes the reasoning model backtrack from steps that are right.",
        f"change of the share of right steps that are backtracked from, {MAGNITUDE}: interval above 0, text coherent",
        Source("2x2", STEERED, bounded("after_right_change"), DIFFERENCE, coherent=True),
        rules.fixed,
        needs="truth",
    ),
    Claim(
        "+j",
        "No control does that.",
        f"share of right steps that are backtracked from, {MAGNITUDE}: lower end above the highest upper end of all "
        f"controls and random directions{COHERENT}",
        Source("baselines", STEERED, bounded("after_right"), "share", coherent=True),
        rules.rivals,
        rivals=DIRECTIONS,
        needs="truth",
    ),
)
