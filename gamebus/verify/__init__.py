"""Verification: a workload on a real cluster, faults, and a checker that judges what was seen."""
