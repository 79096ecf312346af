"""All decisions, without I/O: one snapshot in, one plan out."""
