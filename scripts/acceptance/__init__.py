"""What a release has to reach, in parts that can be measured alone."""
