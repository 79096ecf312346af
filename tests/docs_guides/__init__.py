"""The figures and names in the guides are those of the code."""
