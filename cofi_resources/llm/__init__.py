"""Reading calls: the trades spoken about and the answers to the audit form, each with the words that prove it.

What belongs here: back ends behind one contract (`reader.py`), the checks they share, and their evaluation.
"""
