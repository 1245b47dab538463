"""The run folder, and the recorders that write it.

`recorder` is for scripts, `nnabla_cli_recorder` for nnabla_cli's callback module. Both log the
steps (`step_log`, with rows from `row_numbers`) and write checkpoints while the training runs
(`checkpoint_plan`, `checkpoint_writer`). `run` reads and writes the folder; its files are in
`run_files`, `steps`, `run_settings`, `checkpoint` and `script_network`.
"""
