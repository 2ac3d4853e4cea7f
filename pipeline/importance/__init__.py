"""Which voxels and regions a decoder's first layer draws on, as named statistics with their uncertainty.

========================  =================================================================================
``study.Study``           the weights and the recording that a statistic is computed from
``statistics``            ``weight``, ``weight_signed``, ``pattern`` and its two plainer forms, by voxel
``permutation``           what held-out decoding loses when a region's voxels are shuffled, by region
``shifts``                the null of the patterns: what a region shares with the others' read-out, shifted in time
``jackknife``             intervals of regions over runs
``inference``             split halves, p of regions with corrections, tables of regions, side by side
``maps``                  all of these for one checkpoint
``truth``                 the check against the phantom's planted truth
``export``                CIFTI, NIfTI, CSV, JSON
========================  =================================================================================
"""
