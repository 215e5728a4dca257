"""Evaluation of the predictions: levels, metrics, intervals, and the data of the plots."""
