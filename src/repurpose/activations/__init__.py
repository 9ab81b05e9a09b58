"""Reading and steering the residual stream."""
