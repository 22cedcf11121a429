"""Revisions of the schema, oldest first in `versions/`, applied by `cofi_resources.database.schema`.

A revision is written by hand or from `alembic.autogenerate`, uses only what MariaDB 10.11, MySQL 8 and SQLite all
have, and is never changed once released. A test holds that all of them together make what `tables` says.
"""
