"""Where commands and poses leave for the world: one file a kind of output."""
