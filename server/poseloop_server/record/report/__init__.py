"""A log as one page: what is drawn from it, how, and the page itself."""
