"""Names of the sweeps that tables are made from, and of the columns of estimates; what is said of an empty table."""

Measure = tuple[str, str, str]
"""The columns of an estimate and of the two ends of its interval."""

TWO_BY_TWO, BASELINES, ABLATION = "two_by_two", "baselines", "ablation"
WINDOWS, LAYERS = "windows", "layers"
"""A study may leave any of them out. Without sweeps of their own, Fig. 2 and Fig. B.1 are drawn from the selection
sweep, whose grid has both."""

SWEEP_OF = {"2x2": TWO_BY_TWO, "baselines": BASELINES, "ablation": ABLATION}
"""The sweep behind a table that is empty without it."""


NO_CONTROL = ("behaviour", "variant", "none", "outside")
"""Families that are no control: the behaviour's vector, what is made of it, unsteered text, vectors from outside."""


def why_empty(table: str, behaviour: str) -> str:
    """Say why a table has no rows: most are of sweeps that a study may leave out, one of sentences that it may lack."""
    if table == "rollout":
        return f"No held-out sentence is labelled {behaviour} with a whole window of text before it."
    return "Not measured in this study."


def bounded(name: str) -> Measure:
    """Return the columns of an estimate whose ends are named after it."""
    return name, f"{name}_low", f"{name}_high"
