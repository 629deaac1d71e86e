"""Benches: scripts that measure this project, and with `--peer` a BinderHub beside it, and print what they found.

A bench starts what it measures, checks that the work was really done, and stops everything again. It loads
loopback only.
"""
