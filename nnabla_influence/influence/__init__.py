"""Trace a training back; replay parts of it. Read `trace` first."""
