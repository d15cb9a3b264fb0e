"""How good a pair of starter models is: what is measured, on which pictures, and how.

`python -m training.evaluation.evaluate` runs it all. Nothing in here is needed to use the models.
"""
