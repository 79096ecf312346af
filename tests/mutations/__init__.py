"""Small mistakes, put into cloudroute one at a time: the tests must see each of them.

`python -m tests.mutations` runs, for each mutation of the table, the tests that are to catch it.
"""
