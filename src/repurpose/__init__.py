"""repurpose: steering vectors in reasoning models, from rollouts to verdicts."""

from repurpose.study.memory import refuse_little_address_space

__version__ = "0.1.0"

refuse_little_address_space()
