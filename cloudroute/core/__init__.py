"""Every decision, and no I/O: one snapshot in, one plan out."""
