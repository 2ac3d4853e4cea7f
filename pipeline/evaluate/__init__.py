"""Scores of whole runs, computed once, streamed and resumable; :mod:`pipeline.evaluate.engine` is the way in."""
