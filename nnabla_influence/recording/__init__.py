"""Note a training while it goes on: its rows, learning rates and states."""
