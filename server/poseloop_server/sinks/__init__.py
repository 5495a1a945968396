"""Where poses end: one file a destination."""
