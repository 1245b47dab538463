"""Train a definition with nnabla_cli, recorded, and reconstruct the order of its mini-batches.

`training` checks the definition and its data, starts nnabla_cli (`child_process`), which records
itself through `nnabla_influence.nnabla_cli_callback`, and writes the run folder.
"""
