"""Tests of the documentation: links, commands, names, generated reference, and the built site."""
