"""The embedded pair: a model organism whose language, and so whose every mistake, is known."""
