"""How the embedded pair is trained; no step of a study needs it."""
