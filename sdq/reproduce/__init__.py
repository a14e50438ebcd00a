"""The results that ship, and the tables of the paper."""
