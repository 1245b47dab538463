"""Trace a training back; train parts of it again."""
