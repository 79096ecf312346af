"""Moving in from other networks: what they leave, as they were seen to leave it, and the commands of docs/moving."""
