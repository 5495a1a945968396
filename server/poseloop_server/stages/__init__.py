"""What changes or reads a pose between inference and publishing: one file a stage."""
