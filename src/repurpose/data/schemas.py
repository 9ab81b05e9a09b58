"""The schema of every table: its columns are the contract between two steps."""

import pyarrow as pa

TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "integers": pa.list_(pa.int32()),
}


def _schema(columns: str) -> pa.Schema:
    return pa.schema([(name, TYPES[kind]) for name, kind in map(str.split, columns.split(","))])


PROMPTS = _schema("prompt_id text, category text, split text, messages text, answer text")
"""One prompt; `messages` is JSON, a list of {role, content}; `answer` may be null."""

ROLLOUTS = _schema("""
    prompt_id text, sample integer, split text, category text, answer text, model text, engine text, seed integer,
    prompt_token_ids integers, token_ids integers, token_ends integers, text text, finish_reason text
""")
"""One answer, sampled or published; the ids are authoritative, `text` decodes `token_ids`. `token_ends` says at which
character of `text` each of them ends; one that ends inside a character ends with it. A published answer has no
`seed`."""

SENTENCES = _schema("""
    prompt_id text, sample integer, split text, sentence integer, char_start integer, char_end integer,
    token_start integer, token_end integer, text text, labelled boolean
""")
"""One sentence or, where these are the study's units, one span of a published annotation; characters count in the
rollout's text, tokens in its generated ids (0 = first generated). `labelled` says whether annotators are asked for it:
tags alone and what follows the thinking are not."""

JUDGEMENT = _schema("annotator text, label text, status text, reply text")
LABELS = pa.schema([*(f for f in SENTENCES if f.name != "labelled"), *JUDGEMENT])
"""One sentence as one annotator labels it. `status` is ok, skipped (not asked for), or what was wrong with the
annotator's answer; then `label` is null and `reply` holds the answer as it came. Nothing invalid becomes a label."""

USAGE = _schema("""
    prompt_id text, sample integer, sentences integer, requests integer, prompt_tokens integer,
    completion_tokens integer, cost real, paid_earlier real
""")
"""What one rollout's labels took of a language model, as its server counts; `cost` in the currency of the study's
prices, `paid_earlier` the part of it that an earlier run paid."""

ACTIVATIONS = _schema("""
    prompt_id text, sample integer, sentence integer, window_start integer, layer integer, vector bytes
""")
"""One window's mean activation; `vector` is the bytes of d numbers, d and dtype in the metadata. Sorted by layer, a
row group per layer."""

VECTORS = _schema("""
    name text, kind text, reader text, layer integer, window_start integer, window_length integer, estimator text,
    positives integer, total integer, norm real, residual_norm real, split_half_cosine real, split_half_low real,
    split_half_high real, vector bytes
""")
"""One vector (float32 bytes). `kind` is behaviour, variant, control or outside; variants are the behaviour's vector
with something projected out; controls are mean, same-offset, shuffle-00 ..., random-00 ..., covariance-random-00 ...
and rival-00 ..., the strongest of the permutation test; those from outside stand at their layer, the same for every
window; `residual_norm` is the reader's median L2 norm of single-token activations at that site."""

COSINES = _schema("""
    name text, layer integer, window_start integer, positives integer, prompts integer, cross_half real,
    cross_half_low real, cross_half_high real, reliability_base real, reliability_base_low real,
    reliability_reasoning real, reliability_reasoning_low real, disattenuated real, disattenuated_low real,
    disattenuated_high real
""")
"""How alike the two readers' vectors of one name are at the selected site, read on DISJOINT halves of the prompts;
`prompts` have positives. `disattenuated` is `cross_half` over the geometric mean of the reliabilities, null where the
lower end of either is not above 0."""

SWEEPS = _schema("""
    sweep text, target text, direction text, kind text, reader text, layer integer, window_start integer,
    operation text, positions text, magnitude real, dose real, multiple real, prompt_id text, category text,
    answer text, sample integer, seed integer, prompt_tokens integer, token_ids integers, text text, finish_reason text,
    steered_positions integer, expected_positions integer
""")
"""One steered rollout. `direction` is a vector's name, `noise`, `self` or `none` (unsteered); `magnitude` is the L2
norm added, `dose` that over the target's median residual norm at the site, `multiple` the value as written in the
study. `steered_positions` is counted inside the hook."""

STEERED_KEY = (
    *("sweep", "target", "direction", "kind", "reader", "layer", "window_start", "operation", "multiple"),
    *("magnitude", "prompt_id", "category", "sample"),
)
"""What a labelled sentence of steered text keeps of its row."""
STEERED_LABELS = pa.schema(
    [*(f for f in SWEEPS if f.name in STEERED_KEY), *_schema("cell integer, sentence integer, text text"), *JUDGEMENT]
)
"""One sentence of a steered rollout as one annotator labels it; `cell` numbers the rollouts."""

LIKELIHOODS = _schema("prompt_id text, nll real")
"""One row for each of a sweep, in its order: the mean negative log-likelihood (nats) of its text's tokens under the
target without steering, the prompt as context; null for an empty text, and for one that is not read."""

METRICS = _schema("""
    words integer, keyword_words integer, keyword_share real, annotator text, sentences integer,
    backtracking_sentences integer, backtracking_share real, keyword_sentences integer,
    keyword_backtracking_sentences integer, wrong_calculations integer, wrong_calculations_backtracked integer,
    right_calculations integer, right_calculations_backtracked integer, judged_sentences integer,
    grammatical_sentences integer, valid_backtracking_sentences integer, nll real, distinct_2 real,
    longest_run integer, compression_ratio real, length integer, finished boolean, correct boolean
""")
MEASUREMENTS = pa.schema([*(f for f in SWEEPS if f.name not in ("token_ids", "text")), *METRICS])
"""The sweep's key and its metrics. `keyword_share` is Eq. 1 of the paper as a share (0 to 1); `correct` is null
where no answer is known; a text that gives none is wrong, and where the generator's rollouts have thinking tags, so is
one that gives it before `</think>`. Table C.1 needs the sentences with a keyword, and those of
them that are labelled backtracking. `annotator` says whose labels these are; `sentences` have one, and where nobody
labels the text all of them are null. Calculations are those of our own pairs' languages. In the embedded pair's, whose
grammar is known, `judged_sentences` are those of the thinking, `grammatical_sentences` those that the grammar can
produce, `valid_backtracking_sentences` those that it produces as backtracking, and these alone backtrack from
calculations. `nll` is that of LIKELIHOODS. In a study of another behaviour the `backtracking_` columns count that
label."""

LOGODDS = _schema("""
    target text, context text, direction text, kind text, reader text, layer integer, window_start integer,
    magnitude real, dose real, multiple real, prompt_id text, positions integer, steered_positions integer,
    expected_positions integer, log_odds real, change real
""")
"""Mean log-odds (nats) per prompt or document: `context` is keyword (a keyword against any other token at sentence
starts of the reasoning model's rollouts) or mark ("mistake" against "correct" in homework); `change` is steered minus
unsteered; direction `none` holds the unsteered value."""

PERMUTATIONS = _schema("""
    name text, kind text, split text, prompt_id text, sample integer, positions integer, steered_positions integer,
    expected_positions integer, log_odds real, change real, slope real, rival text
""")
"""One direction of the permutation test on one passage, in the reasoning model at the selected site and magnitude.
`kind` is the behaviour's name for the vector itself, or shuffle or covariance-random; `change` is that of the mean
log-odds of a keyword at `positions` starts of sentences (nats), `slope` the same to first order. On training passages
only the best by slope have a change; `rival` is the name under which sweeps know a direction."""

LENS = _schema("""
    direction text, reader text, unembedding text, layer integer, window_start integer, word text, score real,
    rank real, best_score real, best_rank real, best_entry text, entries integer
""")
"""Mean logit of a unit direction for the `entries` of the vocabulary that hold a word; `rank` is the mean percentile
(1 = top), the `best_` columns are those of the entry with the highest logit. Rows of the ten best tokens have
`top:<token>` in `word`."""

PROJECTIONS = _schema("""
    prompt_id text, sample integer, direction text, reader text, layer integer, position integer, token text,
    projection real, keyword boolean, label text, sentence integer, correct_calculation boolean,
    since_calculation integer
""")
"""Centred activation dot unit direction for each generated token of held-out rollouts: the behaviour's direction at
the selected site, and each from outside at its own layer. `correct_calculation` says, where the truth is known, whether
the last calculation before the token is right; `since_calculation` counts tokens since its end."""

TRACES = _schema("""
    prompt_id text, sample integer, direction text, reader text, layer integer, window_start integer, projections bytes
""")
"""One rollout's projections on one direction, for the explorer: of every direction at the selected site, and of each
from outside at its own layer. `projections` is the bytes of a float32 for each generated token, centred as those of
`projections/`. Held-out rollouts come first, the categories in turn; at most `explorer.rollouts` of them."""
