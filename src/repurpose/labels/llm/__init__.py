"""The `llm` annotator: a language model behind an OpenAI-compatible endpoint names our sentences."""
