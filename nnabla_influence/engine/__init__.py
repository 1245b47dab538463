"""What computes losses, J u and H u of a mini-batch, and the guard that checks it."""
