"""From decoded cues to a video."""
