"""A study's figures, each drawn from its own table alone, and tables; standard library only, for the Snakefile."""

PAPER_FIGURES = ("rollout", "windows", "2x2", "baselines", "lens", "projections", "layers")
"""Stems of the paper's figures, Fig. 1 to 6 and B.1."""

FIGURES: tuple[str, ...] = (*PAPER_FIGURES, "cosines", "ablation", "log_odds", "coherence", "detection")
"""All of them: after the paper's those that it leaves open."""

AGREEMENT_FIGURES: tuple[str, ...] = ("confusion",)
"""Drawn where a study has several annotators."""

AGREEMENT_TABLES: tuple[str, ...] = ("agreement", *AGREEMENT_FIGURES)
"""Cohen's kappa, in all and by label, and the confusion matrices."""

TABLES: tuple[str, ...] = (*FIGURES, "keyword_rule", "permutation", "selection_stability", "beside")
"""Stems of the tables; `keyword_rule` (Table C.1), the permutation test, how stable the selection is, and the paper's
window beside the selected one have no figure."""
