"""WHEN: thin Dagster sensors over pure, tested functions.

What belongs here: ticks, their time budget, and run requests. What does not: the work itself (`cofi_assets`), I/O of
any other kind (`cofi_resources`).
"""
