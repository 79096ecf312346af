"""Explanations for people: a packet's way, the status page, and what doctor finds."""
