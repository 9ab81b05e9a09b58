"""Annotators: each names the behaviour of sentences that `repurpose.sentences` has already cut."""
