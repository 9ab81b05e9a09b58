"""What the page calls things, in a sentence each; docs/method.md says more of them."""

from collections.abc import Iterable, Mapping

from repurpose.study.conditions import family_of, kind_of
from repurpose.study.settings import BEHAVIOURS, VARIANTS, Vectors

CONTROLS = {
    "mean": "a control: the overall mean activation",
    "random": "a control: a fixed random direction; every direction is as likely",
    "covariance-random": "a control: a random direction that lies where the activations vary, as the vector does",
    "shuffle": (
        "a control: the vector of shuffled labels; in each prompt as many windows as the behaviour has there, "
        "whatever their label"
    ),
    "same-offset": "a control: in each prompt as many windows as the behaviour has there, before other sentences",
    "rival": (
        "a control: one of the strongest of hundreds of shuffles and random directions, chosen on training prompts by "
        "how much it raises the log-odds of the keywords"
    ),
    "noise": "a control: a fresh random vector at each token",
    "self": "a control: the token's own activation, made larger",
}
"""By family: `random` for random-07."""
WITHOUT = {
    "without-keywords": "with what writes the keywords by itself (rows of the unembedding) projected out",
    "without-uncertainty": "with the vector of uncertainty-estimation projected out",
}
SWEEPS = {
    "selection": "training prompts over layers, windows and strengths; layer, window and norm are selected from it",
    "two_by_two": "two readers times two models: the vector read from base or reasoning, added in base or reasoning",
    "baselines": "the vector beside every control, at the same L2 norms",
    "ablation": "the direction is taken out instead of added: is it needed for natural text?",
    "windows": "the vector read from several windows before a sentence",
    "layers": "the vector read and added at several layers",
}
TERMS = {
    "direction": "a difference of mean activations, or a control, divided by its L2 norm",
    "read from base, from reasoning": "whose activations the direction is made of, on the same text",
    "in base, in reasoning": "the model that is steered",
    "layer": "the decoder block behind which is read and steered, counted from 0",
    "window from −13": "the activations are read from this many tokens before a sentence's first token, some in a row",
    "norm": "the L2 norm that steering adds to the residual stream of each token",
    "dose": (
        "that norm over the median L2 norm of a residual stream there: in headings the reasoning model's, beside a "
        "text that of the model that is steered"
    ),
    "sd": "standard deviations of a direction's projections over the tokens of all rollouts of this page",
    "nll": (
        "how unlikely the text is to the model that was steered, read again without steering: the mean negative "
        "log-likelihood of a token, in nats (natural logarithms). Far above unsteered text it is no longer coherent"
    ),
    "distinct pairs of tokens": "the share of different pairs of neighbours in windows of 64 tokens; loops have few",
    "compression ratio": "how far a text can be compressed; that of loops is large",
    "parts from the unsteered text at token 12": (
        "the first 12 tokens are those of the unsteered text of the same prompt, sample and model"
    ),
    "most typical text": "the text nearest to the means of its cell: keywords, behaviour, distinct pairs, length",
    "order: as dealt": "held-out rollouts first, the categories in turn",
    "order: strongest token first": "by each rollout's largest projection on the direction that is shown",
}
ANNOTATORS = {
    "lexicon": (
        "documented patterns: a rule, no person and no model. They know the language of the project's own pairs; "
        "elsewhere their labels are a first look"
    ),
    "llm": "a language model that was asked for a label of each sentence",
    "published": "labels that others have published",
}
"""By kind."""


def describe_direction(name: str, behaviour: str, estimator: str = "minus_all") -> str:
    """Say what a direction is, in a sentence."""
    if name == "none":
        return "the model by itself"
    if name in BEHAVIOURS:
        ours = " (what the study is about)" if name == behaviour else ""
        others = "all" if estimator == "minus_all" else "all other"
        return f"the mean activation before {name} sentences{ours}, less that before {others} labelled sentences"
    for variant in VARIANTS:
        if kind_of(name) == "variant" and name.endswith(variant):
            return f"the vector of {name.removesuffix(f'-{variant}')} {WITHOUT[variant]}; it should still work"
    return CONTROLS.get(family_of(name), "a vector from a file that the study names")


def describe_all(
    directions: Iterable[str], sweeps: Iterable[str], kinds: Mapping[str, str], vectors: Vectors
) -> dict[str, dict[str, str]]:
    """The words of what is on the page.

    Args:
        kinds: the kind of each annotator.
    """
    return {
        "directions": {
            name: describe_direction(name, vectors.behaviour, vectors.estimator) for name in dict.fromkeys(directions)
        },
        "sweeps": {name: SWEEPS[name] for name in dict.fromkeys(sweeps) if name in SWEEPS},
        "annotators": {name: ANNOTATORS[kind] for name, kind in kinds.items()},
        "terms": TERMS,
    }
