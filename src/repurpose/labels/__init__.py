"""Who says which behaviour a sentence is, and how far annotators agree."""
