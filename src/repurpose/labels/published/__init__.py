"""The `published` annotator: labels that others have published, brought to our sentences."""
