"""The proof of what happened when: the log of an experiment, its replay and its report."""
