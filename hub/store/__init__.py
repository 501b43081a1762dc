"""What lasts: the database of the hub and its plugins (`engine`), and how its tables come about (`migrator`).

SQLAlchemy, SQLModel and Alembic take about a second to import, so every module here imports them where they are used:
a command that needs no database never pays for one.
"""
