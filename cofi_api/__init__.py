"""The front doors: the command line, and HTTP.

What belongs here: reading what people ask for and showing what there is. What does not: the work (`cofi_assets`); the
front doors write files and rows and read rows, they never talk to Dagster (architecture 2).
"""
