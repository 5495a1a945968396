"""Where frames come in: one file a transport."""
