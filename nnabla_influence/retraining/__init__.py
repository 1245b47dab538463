"""Scores against the truth: leave rows out, retrain, and compare.

`validation.validate` asks how well scores predict the change of the validation loss, and
`removal_curve.curve` whether a model gets better without the rows that a ranking calls harmful.
"""
