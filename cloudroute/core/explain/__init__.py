"""Explanations for people: the path of a packet, the status page, and doctor's findings."""
