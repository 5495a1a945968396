"""From poses to commands: quantities, the language of conditions, triggers, and the chain of one stream."""
