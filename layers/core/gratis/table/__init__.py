"""The ledger table: what stands in it, and how it is read and written."""
