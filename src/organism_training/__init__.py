"""How the embedded pair is trained; no step of a study needs it."""

import repurpose  # noqa: F401  # before torch: it looks whether there is address space enough
