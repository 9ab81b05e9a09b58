"""Labels: who says which behaviour a sentence is, and how far annotators agree.

Steps: `check_annotators`, before anything is sampled; `labelling`, of rollouts; `steered_labels`, of some steered
text; `compare_annotators`. Kinds of annotators, of which none knows another: `lexicon`, `published`, `llm`.
"""
