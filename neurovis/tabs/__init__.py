"""One module per tab: ``KEY``, ``TITLE`` and ``build(library, renders)``."""
