"""What the documentation says is so: links, commands, names, generated reference, and the built site."""
