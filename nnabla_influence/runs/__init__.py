"""The run folder: what a recorded training leaves, and all that a trace back needs."""
