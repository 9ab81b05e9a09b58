"""One file a peer: the lines that its own documentation asks for, in an environment that need not hold this package."""
