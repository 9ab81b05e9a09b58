"""How fast the hot paths are, beside what else there is: `make bench` measures and writes README.md here."""
