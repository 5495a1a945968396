"""Measures this machine with a model: cameras, server and subscriber as processes of their own."""
