"""`cloudroute verify` at work: pods for a while, questions asked in them, evidence for what went wrong, a report."""
