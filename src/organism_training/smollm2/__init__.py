"""How the reasoning model of the SmolLM2 pair is made from its base; no step of a study needs it."""

import repurpose  # noqa: F401  # before torch: it looks whether there is address space enough
