"""The sweeps that tables are made from; a study may leave any of them out."""

from __future__ import annotations

TWO_BY_TWO, BASELINES, ABLATION = "two_by_two", "baselines", "ablation"
WINDOWS, LAYERS = "windows", "layers"
"""Without sweeps of their own, Fig. 2 and Fig. B.1 are drawn from the selection sweep, whose grid has both."""

SWEEP_OF = {"2x2": TWO_BY_TWO, "baselines": BASELINES, "ablation": ABLATION}
"""The sweep behind a table that is empty without it."""
