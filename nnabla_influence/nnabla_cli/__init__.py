"""Train a definition with nnabla_cli, recorded, and reconstruct the order of its mini-batches."""
