"""The status page: its content, its HTTP server, and its look in a real browser."""
