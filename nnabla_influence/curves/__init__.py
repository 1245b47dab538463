"""Removal curves: remove what a ranking names, train again, and see what the test data say."""
