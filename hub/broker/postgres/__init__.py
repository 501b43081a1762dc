"""The broker on PostgreSQL: rows are the truth, notifications only ring."""
