"""An experiment's rules on a recording: what would have fired, and when (docs/rehearsal.md)."""
