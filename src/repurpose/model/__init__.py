"""All that touches a model: loading, tokens, hooks, steering, teacher forcing, engines, GPUs."""
