"""SemMiner: from a clip's frames to C_basic, C_anchor, C_motion and C_holi (SemVideo, section 3.1).

>>> from pipeline.semminer.mine import caption_dataset
>>> caption_dataset("phantom", "phantom", apply=True)  # doctest: +SKIP
"""
