"""The results database: tables, migrations, named statements by topic, and the engine that retries transactions.

What belongs here: everything that imports SQLAlchemy. What does not: Dagster's own storage (`event_log.py`).
Statements are functions over a Connection that `Database.transact` or `Database.read` hands out; each names the index
it relies on, takes calls by hundreds, and touches rows in the order of their keys, so that two runs do not deadlock.
"""
